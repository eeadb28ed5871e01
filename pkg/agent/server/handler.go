package server

import (
	"context"
	"errors"
	"io"
	"net/http"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// Pods finds the pods of the node.
type Pods interface {
	// FindPod returns the newest pod of that name with its status, and its
	// attempts; ok is false where the node runs none.
	FindPod(namespace, name string) (p *corev1.Pod, attempts []pod.Attempt, ok bool)
}

// LogReader reads logs back.
type LogReader interface {
	// ReadLog writes an attempt's log to w as o asks (Container and Previous
	// are resolved already). With Follow it ends when the log is complete or
	// ctx ends. A log that does not exist wraps pod.ErrNotFound.
	ReadLog(ctx context.Context, ref pod.Ref, container string, number int, o *corev1.PodLogOptions, w io.Writer) error
}

// Handler answers
//
//	GET /containerLogs/{namespace}/{pod}/{container}
//	GET, POST /exec/{namespace}/{pod}/{container}
//	GET, POST /attach/{namespace}/{pod}/{container}
//	GET, POST /portForward/{namespace}/{pod}
//	GET /metrics.k8s.io/nodes
//	GET /metrics.k8s.io/pods
//	GET /healthz
//
// The log path takes the parameters of the API's pods/log subresource. Exec,
// attach and port-forward are upgraded to WebSocket or SPDY and take the
// parameters of a kubelet. Errors are a line of text with the status code that
// the API should answer with.
type Handler struct {
	pods     Pods
	logs     LogReader
	inside   Inside
	log      *zap.Logger
	mux      *http.ServeMux
	sessions sessions
}

// NewHandler returns a Handler. Without inside, only logs and health are
// served.
func NewHandler(pods Pods, logs LogReader, inside Inside, log *zap.Logger) *Handler {
	h := &Handler{pods: pods, logs: logs, inside: inside, log: log, mux: http.NewServeMux()}
	h.mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", h.serveLog)
	h.mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{$}", h.serveLog)
	h.mux.HandleFunc("GET /containerLogs/{namespace}/{pod}", h.serveLog)
	h.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok") // the caller has gone if it fails
	})
	if inside != nil {
		for _, method := range []string{"GET ", "POST "} {
			h.mux.HandleFunc(method+"/exec/{namespace}/{pod}/{container}", h.serveExec)
			h.mux.HandleFunc(method+"/attach/{namespace}/{pod}/{container}", h.serveAttach)
			h.mux.HandleFunc(method+"/portForward/{namespace}/{pod}", h.servePortForward)
		}
	}
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// Wait returns when no stream is open any more, or ctx has ended.
func (h *Handler) Wait(ctx context.Context) { h.sessions.wait(ctx) }

func (h *Handler) serveLog(w http.ResponseWriter, r *http.Request) {
	namespace, name := r.PathValue("namespace"), r.PathValue("pod")
	o, err := parseOptions(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p, attempts, ok := h.pods.FindPod(namespace, name)
	if !ok {
		http.Error(w, "pod \""+name+"\" does not run on this node", http.StatusNotFound)
		return
	}
	container, number, err := resolve(p, attempts, r.PathValue("container"), o.Previous)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := &stream{w: w, flush: o.Follow}
	if o.Follow {
		out.begin() // the caller should not wait for the first line
	}
	err = h.logs.ReadLog(r.Context(), pod.RefOf(p), container, number, o, out)
	switch {
	case err == nil || r.Context().Err() != nil:
		out.begin()
	case out.begun:
		h.log.Warn("a log broke off", zap.String("pod", namespace+"/"+name), zap.String("container", container), zap.Error(err))
	case errors.Is(err, pod.ErrNotFound):
		http.Error(w, "unable to retrieve container logs: the log of container \""+container+"\" does not exist", http.StatusNotFound)
	default:
		h.log.Warn("a log cannot be read", zap.String("pod", namespace+"/"+name), zap.String("container", container), zap.Error(err))
		http.Error(w, "unable to retrieve container logs: "+err.Error(), http.StatusInternalServerError)
	}
}

// stream writes a log as the body of an answer. Nothing is sent before the
// first byte, so that an error can still be an answer of its own.
type stream struct {
	w     http.ResponseWriter
	flush bool
	begun bool
}

func (s *stream) begin() {
	if s.begun {
		return
	}
	s.begun = true
	s.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	s.w.WriteHeader(http.StatusOK)
	s.send()
}

func (s *stream) send() {
	if s.flush {
		_ = http.NewResponseController(s.w).Flush() // a writer without it sends by itself
	}
}

func (s *stream) Write(b []byte) (int, error) {
	s.begin()
	n, err := s.w.Write(b)
	s.send()
	return n, err
}
