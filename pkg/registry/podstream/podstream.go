// Package podstream serves the subresources of pods that are streams in both
// directions: exec, attach and portforward. It checks the request, picks the
// container and hands the connection on to the node that runs the pod. It must
// not know how a node is reached, nor what it does with the stream.
package podstream

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	translate "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/carob-project/carob/pkg/hijack"
	"github.com/carob-project/carob/pkg/registry/podlog"
)

// Pods reads pods.
type Pods interface {
	Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error)
}

// Transport tells how to reach a node's agent.
type Transport func(node string) (baseURL string, rt http.RoundTripper, err error)

// connecter is what the three subresources have in common.
type connecter struct {
	pods      Pods
	transport Transport
}

// New returns the storage of the subresources, by name.
func New(pods Pods, transport Transport) map[string]rest.Storage {
	c := connecter{pods, transport}
	return map[string]rest.Storage{
		"pods/exec": &Exec{c}, "pods/attach": &Attach{c}, "pods/portforward": &PortForward{c},
	}
}

// Destroy has nothing to close.
func (connecter) Destroy() {}

// ConnectMethods are those of WebSocket and of SPDY.
func (connecter) ConnectMethods() []string { return []string{http.MethodGet, http.MethodPost} }

// find returns the pod, which must be bound to a node.
func (c connecter) find(ctx context.Context, name string) (*corev1.Pod, error) {
	obj, err := c.pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("%T is no Pod", obj)
	}
	return p, nil
}

// onNode returns where the node serves the path made of words, and how to get
// there.
func (c connecter) onNode(p *corev1.Pod, q url.Values, words ...string) (*url.URL, http.RoundTripper, error) {
	if p.Spec.NodeName == "" {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", p.Name))
	}
	base, rt, err := c.transport(p.Spec.NodeName)
	if err != nil {
		return nil, nil, apierrors.NewInternalError(fmt.Errorf("node %s: %w", p.Spec.NodeName, err))
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, nil, apierrors.NewInternalError(err)
	}
	u = u.JoinPath(words...)
	u.RawQuery = q.Encode()
	return u, rt, nil
}

// command connects to a process in a container of the pod: path is exec or
// attach.
func (c connecter) command(ctx context.Context, path, name, container string, s streams, more url.Values, responder rest.Responder) (http.Handler, error) {
	p, err := c.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if container, err = podlog.Container(p, container); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	q := s.query()
	for k, v := range more {
		q[k] = v
	}
	location, rt, err := c.onNode(p, q, path, p.Namespace, p.Name, container)
	if err != nil {
		return nil, err
	}
	// Clients of the newest protocol are translated to what nodes speak.
	newest := translate.NewStreamTranslatorHandler(location, rt, 0, translate.Options{
		Stdin: s.stdin, Stdout: s.stdout, Stderr: s.stderr && !s.tty, Tty: s.tty,
	})
	translator := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// It ends the node's side of the stream only with its context.
		w, r, cancel := hijack.Watch(w, r)
		defer cancel()
		newest.ServeHTTP(w, r)
	})
	return translate.NewTranslatingHandler(upgrade(location, rt, responder), translator, wsstream.IsWebSocketRequestWithStreamCloseProtocol), nil
}

func upgrade(location *url.URL, rt http.RoundTripper, responder rest.Responder) *proxy.UpgradeAwareHandler {
	return proxy.NewUpgradeAwareHandler(location, rt, false, true, proxy.NewErrorResponder(responder))
}

// Exec serves pods/exec.
type Exec struct{ connecter }

var (
	_ rest.Connecter = &Exec{}
	_ rest.Connecter = &Attach{}
	_ rest.Connecter = &PortForward{}
)

// New returns what the subresource is described as.
func (*Exec) New() runtime.Object { return &corev1.PodExecOptions{} }

// NewConnectOptions returns what the query is decoded into.
func (*Exec) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodExecOptions{}, false, ""
}

// Connect returns the handler of one exec.
func (e *Exec) Connect(ctx context.Context, name string, o runtime.Object, responder rest.Responder) (http.Handler, error) {
	opts, ok := o.(*corev1.PodExecOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %T", o)
	}
	s := streams{opts.Stdin, opts.Stdout, opts.Stderr, opts.TTY}
	if s.none() {
		return nil, errNoStream
	}
	if len(opts.Command) == 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "PodExecOptions"}, name,
			field.ErrorList{field.Required(field.NewPath("command"), "")})
	}
	return e.command(ctx, "exec", name, opts.Container, s, url.Values{"command": opts.Command}, responder)
}

// Attach serves pods/attach.
type Attach struct{ connecter }

// New returns what the subresource is described as.
func (*Attach) New() runtime.Object { return &corev1.PodAttachOptions{} }

// NewConnectOptions returns what the query is decoded into.
func (*Attach) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodAttachOptions{}, false, ""
}

// Connect returns the handler of one attach.
func (a *Attach) Connect(ctx context.Context, name string, o runtime.Object, responder rest.Responder) (http.Handler, error) {
	opts, ok := o.(*corev1.PodAttachOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %T", o)
	}
	s := streams{opts.Stdin, opts.Stdout, opts.Stderr, opts.TTY}
	if s.none() {
		return nil, errNoStream
	}
	return a.command(ctx, "attach", name, opts.Container, s, nil, responder)
}

// PortForward serves pods/portforward.
type PortForward struct{ connecter }

// New returns what the subresource is described as.
func (*PortForward) New() runtime.Object { return &corev1.PodPortForwardOptions{} }

// NewConnectOptions returns what the query is decoded into.
func (*PortForward) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodPortForwardOptions{}, false, ""
}

// Connect returns the handler of one port-forward.
func (f *PortForward) Connect(ctx context.Context, name string, o runtime.Object, responder rest.Responder) (http.Handler, error) {
	opts, ok := o.(*corev1.PodPortForwardOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %T", o)
	}
	p, err := f.find(ctx, name)
	if err != nil {
		return nil, err
	}
	q := url.Values{}
	for _, port := range opts.Ports {
		q.Add("port", strconv.Itoa(int(port)))
	}
	location, rt, err := f.onNode(p, q, "portForward", p.Namespace, p.Name)
	if err != nil {
		return nil, err
	}
	h := upgrade(location, rt, responder)
	return translate.NewTranslatingHandler(h, translate.NewTunnelingHandler(h), wsstream.IsWebSocketRequestWithTunnelingProtocol), nil
}
