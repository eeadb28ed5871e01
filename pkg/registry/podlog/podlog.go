// Package podlog serves the log subresource of pods: it checks the request,
// picks the container and streams from the node that runs the pod. It must not
// know how a node is reached.
package podlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
)

// defaultContainerAnnotation names the container that a request without one
// means.
const defaultContainerAnnotation = "kubectl.kubernetes.io/default-container"

// Pods reads pods.
type Pods interface {
	Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error)
}

// Transport tells how to reach a node's agent.
type Transport func(node string) (baseURL string, rt http.RoundTripper, err error)

// REST serves pods/log.
type REST struct {
	pods      Pods
	transport Transport
}

var (
	_ rest.GetterWithOptions = &REST{}
	_ rest.StorageMetadata   = &REST{}
)

// New returns the storage of pods/log.
func New(pods Pods, transport Transport) *REST { return &REST{pods: pods, transport: transport} }

// New returns a Pod, which the subresource belongs to.
func (*REST) New() runtime.Object { return &corev1.Pod{} }

// Destroy has nothing to close.
func (*REST) Destroy() {}

// ProducesMIMETypes says that logs are text.
func (*REST) ProducesMIMETypes(string) []string { return []string{"text/plain"} }

// ProducesObject is documented as a string.
func (*REST) ProducesObject(string) any { return "" }

// NewGetOptions returns what the query is decoded into.
func (*REST) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}

// Get returns a stream of the log.
func (r *REST) Get(ctx context.Context, name string, o runtime.Object) (runtime.Object, error) {
	opts, ok := o.(*corev1.PodLogOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %T", o)
	}
	if errs := Validate(opts); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, name, errs)
	}
	obj, err := r.pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("%T is no Pod", obj)
	}
	container, err := Container(p, opts.Container)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if p.Spec.NodeName == "" {
		// Without a node there is no log yet; an empty one is the answer.
		return &stream{}, nil
	}
	base, rt, err := r.transport(p.Spec.NodeName)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("node %s: %w", p.Spec.NodeName, err))
	}
	location := strings.TrimSuffix(base, "/") + "/containerLogs/" +
		url.PathEscape(p.Namespace) + "/" + url.PathEscape(p.Name) + "/" + url.PathEscape(container)
	if q := Query(opts).Encode(); q != "" {
		location += "?" + q
	}
	return &stream{location: location, transport: rt, pod: p.Name, container: container}, nil
}

// Container picks the container of a request: the one it names, the one that
// the pod's annotation names, or the only one there is.
func Container(p *corev1.Pod, asked string) (string, error) {
	var inits, mains []string
	for _, c := range p.Spec.InitContainers {
		inits = append(inits, c.Name)
	}
	for _, c := range p.Spec.Containers {
		mains = append(mains, c.Name)
	}
	debugs := func(c corev1.EphemeralContainer) bool { return c.Name == asked }
	if asked != "" {
		if slices.ContainsFunc(p.Spec.EphemeralContainers, debugs) {
			return asked, nil
		}
		if !slices.Contains(inits, asked) && !slices.Contains(mains, asked) {
			return "", fmt.Errorf("container %s is not valid for pod %s", asked, p.Name)
		}
		return asked, nil
	}
	if name := p.Annotations[defaultContainerAnnotation]; slices.Contains(mains, name) {
		return name, nil
	}
	if len(mains) == 1 {
		return mains[0], nil
	}
	message := fmt.Sprintf("a container name must be specified for pod %s, choose one of: %v", p.Name, mains)
	if len(inits) > 0 {
		message += fmt.Sprintf(" or one of the init containers: %v", inits)
	}
	return "", errors.New(message)
}

// Query is what the node is asked, in the form of a kubelet's API.
func Query(o *corev1.PodLogOptions) url.Values {
	q := url.Values{}
	flag := func(name string, set bool) {
		if set {
			q.Set(name, "true")
		}
	}
	number := func(name string, n *int64) {
		if n != nil {
			q.Set(name, strconv.FormatInt(*n, 10))
		}
	}
	flag("follow", o.Follow)
	flag("previous", o.Previous)
	flag("timestamps", o.Timestamps)
	number("sinceSeconds", o.SinceSeconds)
	number("tailLines", o.TailLines)
	number("limitBytes", o.LimitBytes)
	if o.SinceTime != nil {
		q.Set("sinceTime", o.SinceTime.UTC().Format(time.RFC3339))
	}
	if o.Stream != nil && *o.Stream != corev1.LogStreamAll {
		q.Set("stream", *o.Stream)
	}
	return q
}

// stream reads a node's answer. It is flushed as it comes, also without -f: a
// long log is of use from its first line.
type stream struct {
	location       string
	transport      http.RoundTripper
	pod, container string
}

var _ rest.ResourceStreamer = &stream{}

// GetObjectKind belongs to runtime.Object, which every answer has to be.
func (*stream) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns the stream itself: it is never changed.
func (s *stream) DeepCopyObject() runtime.Object { return s }

// InputStream asks the node.
func (s *stream) InputStream(ctx context.Context, _, _ string) (io.ReadCloser, bool, string, error) {
	const contentType = "text/plain"
	if s.location == "" {
		return io.NopCloser(strings.NewReader("")), true, contentType, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.location, nil)
	if err != nil {
		return nil, false, "", err
	}
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return nil, false, "", apierrors.NewInternalError(fmt.Errorf("log of %s/%s: %w", s.pod, s.container, err))
	}
	if resp.StatusCode != http.StatusOK {
		return nil, false, "", s.refusal(resp)
	}
	return &apart{ReadCloser: resp.Body}, true, contentType, nil
}

// apart tells of the end only after the last bytes, never with them: what comes
// together with the end is lost where a log is sent over WebSocket.
type apart struct {
	io.ReadCloser
	end error
}

// Read implements io.Reader.
func (a *apart) Read(b []byte) (int, error) {
	if a.end != nil {
		return 0, a.end
	}
	n, err := a.ReadCloser.Read(b)
	if n > 0 {
		a.end, err = err, nil
	}
	return n, err
}

// maxRefusal bounds how much of a node's error text is handed on.
const maxRefusal = 4 << 10

func (s *stream) refusal(resp *http.Response) error {
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	message := strings.TrimSpace(string(text))
	if resp.StatusCode >= http.StatusInternalServerError {
		return apierrors.NewInternalError(errors.New(message))
	}
	if resp.StatusCode == http.StatusNotFound {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound, Message: message,
		}}
	}
	return apierrors.NewBadRequest(message)
}
