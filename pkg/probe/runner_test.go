package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

type execer struct {
	out  string
	code int
	err  error
}

func (e execer) Exec(context.Context, string, []string, time.Duration) ([]byte, int, error) {
	return []byte(e.out), e.code, e.err
}

func portOf(t *testing.T, addr string) int32 {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return int32(n)
}

func target(ports ...corev1.ContainerPort) Target {
	return Target{AttemptID: "a", Host: "127.0.0.1", Container: &corev1.Container{Name: "c", Ports: ports}}
}

func check(t *testing.T, name string, got Result, outcome Outcome, output string) {
	t.Helper()
	if got.Outcome != outcome || !strings.Contains(got.Output, output) {
		t.Errorf("%s: %+v, want %v %q", name, got, outcome, output)
	}
}

func TestExecProbe(t *testing.T) {
	p := &corev1.Probe{TimeoutSeconds: 2, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"cat", "x"}}}}
	for _, tc := range []struct {
		name    string
		exec    Execer
		outcome Outcome
		output  string
	}{
		{"good", execer{out: "fine"}, Success, "fine"},
		{"bad", execer{out: "no such file", code: 1}, Failure, "no such file"},
		{"slow", execer{err: fmt.Errorf("x: %w", context.DeadlineExceeded)}, Failure, `command timed out: "cat x" timed out after 2s`},
		{"away", execer{err: errors.New("containerd is away")}, Unknown, "away"},
		{"none", nil, Unknown, "cannot be executed"},
	} {
		check(t, tc.name, Runner{Exec: tc.exec}.Probe(t.Context(), p, target()), tc.outcome, tc.output)
	}
}

func TestHTTPProbe(t *testing.T) {
	serve := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/headers":
			_, _ = fmt.Fprintf(w, "%s %s %s %s %s", r.Host, r.UserAgent(), r.Header.Get("Accept"), r.Header["X-A"], r.URL.RawQuery)
		case "/proto":
			_, _ = fmt.Fprint(w, r.Proto)
		case "/away":
			http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusFound)
		case "/back":
			http.Redirect(w, r, "/headers", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		default:
			http.Error(w, "no", http.StatusServiceUnavailable)
		}
	}
	plain, secure := httptest.NewUnstartedServer(http.HandlerFunc(serve)), httptest.NewUnstartedServer(http.HandlerFunc(serve))
	plain.Config.Protocols = &http.Protocols{}
	plain.Config.Protocols.SetHTTP1(true)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Start()
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	port := portOf(t, plain.Listener.Addr().String())
	named := target(corev1.ContainerPort{Name: "web", ContainerPort: port})
	h2 := corev1.HTTPProtocolHTTP2
	get := func(a corev1.HTTPGetAction) Result {
		if a.Port == (intstr.IntOrString{}) {
			a.Port = intstr.FromString("web")
		}
		return Runner{UserAgent: "kube-probe/1"}.Probe(t.Context(), &corev1.Probe{TimeoutSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &a}}, named)
	}
	check(t, "headers", get(corev1.HTTPGetAction{Path: "/headers?a=b", HTTPHeaders: []corev1.HTTPHeader{
		{Name: "Host", Value: "me.example"}, {Name: "X-A", Value: "1"}, {Name: "X-A", Value: "2"},
	}}), Success, "me.example kube-probe/1 */* [1 2] a=b")
	check(t, "user agent", get(corev1.HTTPGetAction{Path: "headers", HTTPHeaders: []corev1.HTTPHeader{{Name: "User-Agent", Value: "mine"}}}), Success, " mine ")
	check(t, "status", get(corev1.HTTPGetAction{Path: "/nowhere"}), Failure, "HTTP probe failed with statuscode: 503")
	check(t, "redirect away", get(corev1.HTTPGetAction{Path: "/away"}), Warning, "Probe terminated redirects")
	check(t, "redirect", get(corev1.HTTPGetAction{Path: "/back"}), Success, "kube-probe")
	check(t, "slow", get(corev1.HTTPGetAction{Path: "/slow"}), Failure, "exceeded")
	check(t, "https", get(corev1.HTTPGetAction{Path: "/headers", Scheme: corev1.URISchemeHTTPS, Port: intstr.FromInt32(portOf(t, secure.Listener.Addr().String()))}), Success, "")
	check(t, "h2", get(corev1.HTTPGetAction{Path: "/proto", Protocol: &h2}), Success, "HTTP/2.0")
	check(t, "h1", get(corev1.HTTPGetAction{Path: "/proto"}), Success, "HTTP/1.1")
	check(t, "no such port", get(corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("nope")}), Unknown, "no port")
	check(t, "host", get(corev1.HTTPGetAction{Path: "/", Host: "127.0.0.2", Port: intstr.FromInt32(1)}), Failure, "127.0.0.2:1: connect: connection refused")
}

func TestTCPProbe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(portOf(t, l.Addr().String()))}}}
	check(t, "open", Runner{}.Probe(t.Context(), p, target()), Success, "")
	_ = l.Close()
	check(t, "closed", Runner{}.Probe(t.Context(), p, target()), Failure, "connection refused")
}

func TestGRPCProbe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, h := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(s, h)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	h.SetServingStatus("bad", healthpb.HealthCheckResponse_NOT_SERVING)
	p := func(service string, port int32) Result {
		return Runner{}.Probe(t.Context(), &corev1.Probe{TimeoutSeconds: 1, ProbeHandler: corev1.ProbeHandler{
			GRPC: &corev1.GRPCAction{Port: port, Service: &service},
		}}, target())
	}
	port := portOf(t, l.Addr().String())
	check(t, "serving", p("", port), Success, "")
	check(t, "not serving", p("bad", port), Failure, `service unhealthy (responded with "NOT_SERVING")`)
	check(t, "unknown service", p("none", port), Failure, "health rpc probe failed")
	check(t, "nobody", p("", 1), Failure, `timeout: failed to connect service "127.0.0.1:1" within 1s`)
}

func TestHooks(t *testing.T) {
	run := func(e Execer, h corev1.LifecycleHandler, timeout time.Duration) error {
		return Runner{Exec: e}.Hook(t.Context(), &h, target(), timeout)
	}
	cmd := corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"a", "b"}}}
	var failed *HookError
	if err := run(execer{}, cmd, 0); err != nil {
		t.Error(err)
	}
	if err := run(execer{code: 2, out: "broken"}, cmd, 0); !errors.As(err, &failed) || !strings.Contains(failed.Message, "broken") || !strings.Contains(failed.Message, "exited with 2") {
		t.Error(err)
	}
	if err := run(execer{err: errors.New("away")}, cmd, 0); err == nil || errors.As(err, &failed) {
		t.Error(err)
	}
	s := httptest.NewServer(http.NotFoundHandler())
	web := corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(portOf(t, s.Listener.Addr().String()))}}
	if err := run(nil, web, 0); err != nil {
		t.Error("any answer will do:", err)
	}
	s.Close()
	if err := run(nil, web, 0); !errors.As(err, &failed) {
		t.Error(err)
	}
	if err := run(nil, corev1.LifecycleHandler{Sleep: &corev1.SleepAction{}}, 0); err != nil {
		t.Error(err)
	}
	if err := run(nil, corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 9}}, time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
