package server

import (
	"context"
	"encoding/json"
	"net/http"

	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// Metrics tells what is used now.
type Metrics interface {
	NodeMetrics(ctx context.Context) (*metricsv1beta1.NodeMetricsList, error)
	PodMetrics(ctx context.Context) (*metricsv1beta1.PodMetricsList, error)
}

// ServeMetrics adds the paths below /metrics.k8s.io. They are lists of the API
// group of that name, of this node alone. It is called before the first
// request.
func (h *Handler) ServeMetrics(m Metrics) {
	h.mux.HandleFunc("GET /metrics.k8s.io/nodes", func(w http.ResponseWriter, r *http.Request) {
		list, err := m.NodeMetrics(r.Context())
		answer(w, list, err)
	})
	h.mux.HandleFunc("GET /metrics.k8s.io/pods", func(w http.ResponseWriter, r *http.Request) {
		list, err := m.PodMetrics(r.Context())
		answer(w, list, err)
	})
}

func answer(w http.ResponseWriter, list any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list) // the caller has gone if it fails
}
