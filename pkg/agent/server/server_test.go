package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/agent/server"
	"github.com/carob-project/carob/pkg/pod"
)

type fakePods struct {
	pod      *corev1.Pod
	attempts []pod.Attempt
}

func (f fakePods) FindPod(_, name string) (*corev1.Pod, []pod.Attempt, bool) {
	return f.pod, f.attempts, name == f.pod.Name
}

// fakeLogs answers with what it was asked for.
type fakeLogs struct{ err error }

func (f fakeLogs) ReadLog(_ context.Context, _ pod.Ref, c string, n int, o *corev1.PodLogOptions, w io.Writer) error {
	if f.err != nil {
		return f.err
	}
	_, err := fmt.Fprintf(w, "%s/%d follow=%t", c, n, o.Follow)
	return err
}

func testPod(states ...corev1.ContainerStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u"},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "init"}},
			Containers:     []corev1.Container{{Name: "app"}, {Name: "side"}},
		},
		Status: corev1.PodStatus{ContainerStatuses: states},
	}
}

func waiting(reason string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: "app", State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: reason},
	}}
}

func attempt(n int, s pod.AttemptState) pod.Attempt {
	return pod.Attempt{Container: "app", Number: n, State: s}
}

func TestContainerLogs(t *testing.T) {
	tests := []struct {
		name     string
		status   corev1.ContainerStatus
		attempts []pod.Attempt
		path     string
		err      error
		code     int
		body     string
	}{
		{name: "running", attempts: []pod.Attempt{attempt(0, pod.AttemptExited), attempt(1, pod.AttemptRunning)},
			path: "web/app", code: 200, body: "app/1 follow=false"},
		{name: "follow", attempts: []pod.Attempt{attempt(1, pod.AttemptRunning)},
			path: "web/app?follow=true", code: 200, body: "app/1 follow=true"},
		{name: "previous", attempts: []pod.Attempt{attempt(0, pod.AttemptExited), attempt(1, pod.AttemptRunning)},
			path: "web/app?previous=true", code: 200, body: "app/0 follow=false"},
		{name: "previous while backed off", status: waiting("CrashLoopBackOff"),
			attempts: []pod.Attempt{attempt(4, pod.AttemptExited)},
			path:     "web/app?previous=true", code: 200, body: "app/4 follow=false"},
		{name: "backed off", status: waiting("CrashLoopBackOff"), attempts: []pod.Attempt{attempt(4, pod.AttemptExited)},
			path: "web/app", code: 200, body: "app/4 follow=false"},
		{name: "no previous", attempts: []pod.Attempt{attempt(0, pod.AttemptRunning)},
			path: "web/app?previous=true", code: 400, body: `previous terminated container "app" in pod "web" not found`},
		{name: "waiting", status: waiting("ContainerCreating"), path: "web/app",
			code: 400, body: `container "app" in pod "web" is waiting to start: ContainerCreating`},
		{name: "only created", status: waiting("ContainerCreating"), attempts: []pod.Attempt{attempt(0, pod.AttemptCreated)},
			path: "web/app", code: 400, body: `container "app" in pod "web" is waiting to start: ContainerCreating`},
		{name: "pull failing", status: waiting("ErrImagePull"), path: "web/app",
			code: 400, body: `container "app" in pod "web" is waiting to start: trying and failing to pull image`},
		{name: "pull backed off", status: waiting("ImagePullBackOff"), path: "web/app",
			code: 400, body: `container "app" in pod "web" is waiting to start: image can't be pulled`},
		{name: "no such container", path: "web/nope", code: 400, body: "container nope is not valid for pod web"},
		{name: "no container named", path: "web", code: 400,
			body: "a container name must be specified for pod web, choose one of: [app side]"},
		{name: "no such pod", path: "nope/app", code: 404, body: `pod "nope" does not run on this node`},
		{name: "bad number", path: "web/app?tailLines=x", code: 400, body: `tailLines: "x" is not a whole number of at least 0`},
		{name: "bad stream", path: "web/app?stream=x", code: 400, body: `stream: "x" is none of All, Stdout, Stderr`},
		{name: "no file", attempts: []pod.Attempt{attempt(0, pod.AttemptRunning)}, path: "web/app",
			err: fmt.Errorf("x: %w", pod.ErrNotFound), code: 404,
			body: `unable to retrieve container logs: the log of container "app" does not exist`},
		{name: "unreadable", attempts: []pod.Attempt{attempt(0, pod.AttemptRunning)}, path: "web/app",
			err: errors.New("disk on fire"), code: 500, body: "unable to retrieve container logs: disk on fire"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := server.NewHandler(fakePods{testPod(tt.status), tt.attempts}, fakeLogs{tt.err}, nil, zap.NewNop())
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/containerLogs/default/"+tt.path, nil))
			if rec.Code != tt.code || strings.TrimSpace(rec.Body.String()) != tt.body {
				t.Errorf("%d %q, want %d %q", rec.Code, rec.Body.String(), tt.code, tt.body)
			}
		})
	}
}

func TestServe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := server.Listen(path)
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", st, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	h := server.NewHandler(fakePods{pod: testPod()}, fakeLogs{}, nil, zap.NewNop())
	go func() { done <- server.Serve(ctx, l, h) }()
	if _, err := server.Listen(path); !errors.Is(err, server.ErrInUse) {
		t.Errorf("second agent: %v", err)
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}
	resp, err := client.Get("http://agent/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "ok" {
		t.Errorf("healthz: %q, %v", body, err)
	}
	_ = resp.Body.Close()
	client.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// FuzzQuery: whatever the query, the handler answers and never with an error
// of its own.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"", "follow=1&tailLines=3", "sinceTime=2026-01-01T00:00:00Z", "limitBytes=-1", "%zz"} {
		f.Add(s)
	}
	h := server.NewHandler(fakePods{testPod(), []pod.Attempt{attempt(0, pod.AttemptRunning)}}, fakeLogs{}, nil, zap.NewNop())
	f.Fuzz(func(t *testing.T, q string) {
		r := httptest.NewRequest(http.MethodGet, "/containerLogs/default/web/app", nil)
		r.URL = &url.URL{Path: r.URL.Path, RawQuery: q}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != http.StatusOK && rec.Code != http.StatusBadRequest {
			t.Errorf("%q: %d %s", q, rec.Code, rec.Body)
		}
	})
}
