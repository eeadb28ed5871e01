package fields

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/carob-project/carob/e2e/harness"
)

// requests are what a server was asked.
type requests struct {
	mu  sync.Mutex
	got map[string]string
}

func (r *requests) ServeHTTP(_ http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got[q.URL.Path] = strings.Join([]string{q.Proto, q.Host, strings.Join(q.Header.Values("X-Twice"), "+"), q.Header.Get("Accept")}, " ")
}

func (r *requests) of(path string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[path]
}

// httpActions: probes and hooks that ask a server on the node, with TLS, with
// headers and over HTTP/2.
func httpActions(t *testing.T, c *harness.Carob) {
	got := &requests{got: map[string]string{}}
	secure := httptest.NewTLSServer(got)
	t.Cleanup(secure.Close)
	clear := httptest.NewUnstartedServer(got)
	clear.Config.Protocols = new(http.Protocols)
	clear.Config.Protocols.SetHTTP1(true)
	clear.Config.Protocols.SetUnencryptedHTTP2(true)
	clear.Start()
	t.Cleanup(clear.Close)
	port := func(s *httptest.Server) string {
		_, p, _ := net.SplitHostPort(s.Listener.Addr().String())
		return p
	}
	get := func(path, more string) string {
		return "httpGet: {host: 127.0.0.1, path: /" + path + ", " + more +
			", httpHeaders: [{name: X-Twice, value: a}, {name: X-Twice, value: b}, {name: Host, value: carob.example}, {name: Accept, value: text/plain}]}"
	}
	https, plain, h2c := "scheme: HTTPS, port: "+port(secure), "port: "+port(clear), "protocol: HTTP2, port: "+port(clear)
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: asks}
spec:
  terminationGracePeriodSeconds: 10
  containers:
    - name: main
      image: busybox:1.35
      command: [sleep, '100000']
      startupProbe: {`+get("startup", https)+`, periodSeconds: 1}
      livenessProbe: {`+get("liveness", h2c)+`, periodSeconds: 1}
      readinessProbe: {`+get("readiness", plain)+`, periodSeconds: 1}
      lifecycle:
        postStart: {`+get("post-start", https)+`}
        preStop: {`+get("pre-stop", plain)+`}
`)
	c.WaitReady(t, "asks")
	harness.Eventually(t, 20*time.Second, func() string { return unless(got.of("/liveness") != "", "no liveness probe") })
	c.K(t, "delete", "pod", "asks", "--grace-period=1", "--timeout=60s")
	for path, proto := range map[string]string{
		"/startup": "HTTP/1.1", "/liveness": "HTTP/2.0", "/readiness": "HTTP/1.1", "/post-start": "HTTP/1.1", "/pre-stop": "HTTP/1.1",
	} {
		want := proto + " carob.example a+b text/plain"
		if path == "/startup" || path == "/post-start" {
			// With TLS the two may agree on HTTP/2.
			_, want, _ = strings.Cut(want, " ")
		}
		if !strings.HasSuffix(got.of(path), want) {
			t.Errorf("%s was asked with %q, want %q", path, got.of(path), want)
		}
	}
}

func unless(ok bool, what string) string {
	if ok {
		return ""
	}
	return what
}

// health answers as well for the services it has.
type health struct {
	healthpb.UnimplementedHealthServer
	services map[string]healthpb.HealthCheckResponse_ServingStatus
}

func (h health) Check(_ context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	s, ok := h.services[r.GetService()]
	if !ok {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	return &healthpb.HealthCheckResponse{Status: s}, nil
}

// grpcProbes dial the address of the pod: in the node's network, a server of
// the test.
func grpcProbes(t *testing.T, c *harness.Carob) {
	h := health{services: map[string]healthpb.HealthCheckResponse_ServingStatus{
		"": healthpb.HealthCheckResponse_SERVING, "ready": healthpb.HealthCheckResponse_SERVING, "live": healthpb.HealthCheckResponse_NOT_SERVING,
	}}
	plain := serveHealth(t, h)
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	certificate := s.TLS.Certificates[0]
	s.Close()
	secure := serveHealth(t, h, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})))
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: calls}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: busybox:1.35
      command: [sleep, '100000']
      startupProbe: {grpc: {port: `+plain+`}, periodSeconds: 1}
      readinessProbe: {grpc: {port: `+secure+`, service: ready, mode: TLS}, periodSeconds: 1}
      livenessProbe: {grpc: {port: `+plain+`, service: live}, periodSeconds: 2, failureThreshold: 3}
`)
	becomes(t, c, "pod", "calls", `{.status.containerStatuses[0].ready}`, "true")
	becomes(t, c, "pod", "calls", `{.status.containerStatuses[0].restartCount}`, "1")
	events := c.K(t, "get", "events", "--field-selector", "involvedObject.name=calls,reason=Unhealthy", "-o", "jsonpath={.items[*].message}")
	if want := `Liveness probe failed: service unhealthy (responded with "NOT_SERVING")`; !strings.Contains(events, want) {
		t.Errorf("no %q in %q", want, events)
	}
}

func serveHealth(t *testing.T, h health, o ...grpc.ServerOption) (port string) {
	l, err := net.Listen("tcp", ":0") //nolint:gosec // the pod's address is the node's
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(o...)
	healthpb.RegisterHealthServer(s, h)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { s.Stop(); wg.Wait() })
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// thresholds: the first probe waits, and readiness needs several successes.
func thresholds(t *testing.T, c *harness.Carob) {
	dir := t.TempDir()
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: counts}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, 'cut -d" " -f1 /proc/uptime > /out/began; exec sleep 100000']
      readinessProbe:
        exec: {command: [sh, -c, 'cut -d" " -f1 /proc/uptime >> /out/asked']}
        initialDelaySeconds: 4
        periodSeconds: 2
        successThreshold: 3
      livenessProbe: {exec: {command: [/bin/true]}, initialDelaySeconds: 1, successThreshold: 1}
      startupProbe: {exec: {command: [/bin/true]}, initialDelaySeconds: 1, periodSeconds: 1, successThreshold: 1}
      volumeMounts: [{name: out, mountPath: /out}]
  volumes: [{name: out, hostPath: {path: `+dir+`}}]
`)
	c.WaitReady(t, "counts")
	asked := strings.Fields(file(dir, "asked"))
	began, err := strconv.ParseFloat(strings.TrimSpace(file(dir, "began")), 64)
	if err != nil || len(asked) < 3 {
		t.Fatalf("began %v, asked %v", err, asked)
	}
	first, _ := strconv.ParseFloat(asked[0], 64)
	third, _ := strconv.ParseFloat(asked[2], 64)
	if first-began < 3.5 || third-first < 3.5 {
		t.Errorf("began at %v, asked at %v", began, asked)
	}
}
