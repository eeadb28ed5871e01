// Package podproxy serves pods/proxy: a request to a port of a pod, through the
// API server. It must not know what is behind the port, nor who may ask.
package podproxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Pods reads pods.
type Pods interface {
	Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error)
}

// REST serves the subresource.
type REST struct {
	pods      Pods
	transport http.RoundTripper
}

var _ rest.Connecter = &REST{}

// New returns the storage of the subresource.
func New(pods Pods) *REST {
	return &REST{pods: pods, transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: dialTime}).DialContext,
		// A pod proves itself by its address, as to everybody in the pods'
		// network; its certificate is nobody's that the server knows.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		// An address may be another pod's by the next request.
		DisableKeepAlives: true,
	}}
}

const dialTime = 30 * time.Second

// New returns what the subresource is described as.
func (*REST) New() runtime.Object { return &corev1.PodProxyOptions{} }

// Destroy has nothing to close.
func (*REST) Destroy() {}

// NewConnectOptions returns what the query is decoded into; the rest of the
// path is part of it.
func (*REST) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodProxyOptions{}, true, "path"
}

// ConnectMethods are all.
func (*REST) ConnectMethods() []string {
	return []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut,
		http.MethodPatch, http.MethodDelete, http.MethodOptions,
	}
}

// Connect returns the handler of one request. id is [scheme:]name[:port].
func (r *REST) Connect(ctx context.Context, id string, o runtime.Object, responder rest.Responder) (http.Handler, error) {
	opts, ok := o.(*corev1.PodProxyOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %T", o)
	}
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(id)
	if !valid {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", id))
	}
	obj, err := r.pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("%T is no Pod", obj)
	}
	u, err := location(p, scheme, port)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	u.Path = utilnet.JoinPreservingTrailingSlash(u.Path, opts.Path)
	return proxy.NewUpgradeAwareHandler(u, r.transport, true, false, proxy.NewErrorResponder(responder)), nil
}

// location is where a pod's port is. Without one it is the first TCP port that
// its containers name, and else the scheme's.
func location(p *corev1.Pod, scheme, port string) (*url.URL, error) {
	if port == "" {
		port = firstPort(p)
	}
	ip, err := netip.ParseAddr(p.Status.PodIP)
	if err != nil {
		return nil, fmt.Errorf("pod %s has no IP", p.Name)
	}
	// A status can be written by others than its node: it must not lead to
	// what only the server itself reaches.
	if ip = ip.Unmap(); ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() {
		return nil, fmt.Errorf("address not allowed: %s", ip)
	}
	u := &url.URL{Scheme: scheme, Host: ip.String()}
	if ip.Is6() {
		u.Host = "[" + u.Host + "]"
	}
	if port != "" {
		u.Host = net.JoinHostPort(ip.String(), port)
	}
	return u, nil
}

func firstPort(p *corev1.Pod) string {
	for i := range p.Spec.Containers {
		for _, c := range p.Spec.Containers[i].Ports {
			if c.Protocol == corev1.ProtocolTCP {
				return strconv.Itoa(int(c.ContainerPort))
			}
		}
	}
	return ""
}

// AddToScheme registers how a query becomes the options.
func AddToScheme(s *runtime.Scheme) error {
	return s.AddConversionFunc((*url.Values)(nil), (*corev1.PodProxyOptions)(nil), func(a, b any, _ conversion.Scope) error {
		b.(*corev1.PodProxyOptions).Path = strings.Join((*a.(*url.Values))["path"], "")
		return nil
	})
}
