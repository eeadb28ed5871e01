package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"
	apiversion "k8s.io/apimachinery/pkg/version"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/rest"

	"github.com/carob-project/carob/pkg/pki"
	"github.com/carob-project/carob/pkg/tracing"
)

// How long the end of a server may take: watches are told to end, then
// connections are closed.
const (
	watchGrace    = time.Second
	shutdownGrace = 3 * time.Second
	readyPoll     = 10 * time.Millisecond
)

// NodeTransport tells how to reach a node's agent, which serves the paths of a
// kubelet: the base of its URLs, and what carries the requests.
type NodeTransport func(node string) (baseURL string, rt http.RoundTripper, err error)

// Options say what to serve and where.
type Options struct {
	// Listen is address:port; port 0 picks a free one.
	Listen string
	// PKI holds the certificates.
	PKI *pki.Store
	// Etcd are the endpoints of the store.
	Etcd []string
	// NodeTransport leads to the logs and streams of pods.
	NodeTransport NodeTransport
	// Version is what /version answers.
	Version apiversion.Info
	// Tracer makes spans of the requests about pods, and serves those of all
	// parts; nil: neither.
	Tracer *tracing.Tracer
	// Log may be nil.
	Log *zap.Logger
}

// Server is an API server.
type Server struct {
	pki     *pki.Store
	log     *zap.Logger
	host    string
	generic *genericapiserver.GenericAPIServer
	ready   chan struct{}
}

// New puts a server together and opens its port. Close it by running it with
// a context that ends.
func New(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.NodeTransport == nil {
		o.NodeTransport = func(node string) (string, http.RoundTripper, error) {
			return "", nil, fmt.Errorf("node %s cannot be reached", node)
		}
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("apiserver: %w", err)
	}
	s := &Server{pki: o.PKI, log: o.Log, host: "https://" + reachable(listener.Addr().String()), ready: make(chan struct{})}
	if err := s.assemble(o, listener); err != nil {
		return nil, errors.Join(fmt.Errorf("apiserver: %w", err), listener.Close())
	}
	return s, nil
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	go s.awaitReady(ctx)
	if err := s.generic.PrepareRun().RunWithContext(ctx); err != nil {
		return fmt.Errorf("apiserver: %w", err)
	}
	return nil
}

// Ready is closed when /readyz answers ok.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// URL is where clients on this machine reach the server.
func (s *Server) URL() string { return s.host }

// ClientConfig returns what a component of this process connects with: a
// certificate made for it, protobuf, and no limit on requests.
func (s *Server) ClientConfig(user string, groups ...string) (*rest.Config, error) {
	pair, err := s.pki.Ephemeral(user, groups...)
	if err != nil {
		return nil, fmt.Errorf("apiserver: client %s: %w", user, err)
	}
	return &rest.Config{
		Host:      s.host,
		UserAgent: "carob/" + user,
		QPS:       -1,
		// On the same machine a compressor and a decompressor for every watch
		// would only cost memory.
		DisableCompression: true,
		TLSClientConfig:    rest.TLSClientConfig{CAData: s.pki.CA(), CertData: pair.Cert, KeyData: pair.Key},
		ContentConfig: rest.ContentConfig{
			ContentType:        "application/vnd.kubernetes.protobuf",
			AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json",
		},
	}, nil
}

// awaitReady asks /readyz until it answers. The library tells nobody when it
// is ready, so there is no event to wait for.
func (s *Server) awaitReady(ctx context.Context) {
	t := time.NewTicker(readyPoll)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if s.answersReady(ctx) {
			close(s.ready)
			return
		}
	}
}

func (s *Server) answersReady(ctx context.Context) bool {
	config, client, err := s.generic.LoopbackClientConfig, (*http.Client)(nil), error(nil)
	if client, err = rest.HTTPClientFor(config); err != nil {
		return false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.host+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode == http.StatusOK
}

// reachable replaces an address that means every one by the loopback one.
func reachable(listen string) string {
	ap, err := netip.ParseAddrPort(listen)
	if err != nil || !ap.Addr().IsUnspecified() {
		return listen
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	return netip.AddrPortFrom(loopback, ap.Port()).String()
}
