// Package metrics serves metrics.k8s.io: what nodes and pods use now. Nothing of
// it is stored; the nodes are asked with each request. It must not know how a
// node is reached.
package metrics

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// Nodes lists nodes.
type Nodes interface {
	List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error)
}

// Transport tells how to reach a node's agent.
type Transport func(node string) (baseURL string, rt http.RoundTripper, err error)

// New returns the storage of nodes and pods in the group.
func New(nodes Nodes, transport Transport) map[string]rest.Storage {
	s := source{nodes, transport}
	return map[string]rest.Storage{"nodes": &nodeREST{s}, "pods": &podREST{s}}
}

// AddToScheme registers the selectable fields.
func AddToScheme(s *runtime.Scheme) error {
	for kind, namespaced := range map[string]bool{"NodeMetrics": false, "PodMetrics": true} {
		err := s.AddFieldLabelConversionFunc(metricsv1beta1.SchemeGroupVersion.WithKind(kind), func(label, value string) (string, string, error) {
			if label == "metadata.name" || namespaced && label == "metadata.namespace" {
				return label, value, nil
			}
			return "", "", fmt.Errorf("field label not supported: %s", label)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// source asks nodes.
type source struct {
	nodes     Nodes
	transport Transport
}

// maxAnswer bounds what one node may answer.
const maxAnswer = 64 << 20

// ask asks every node for one of its lists. into returns, for a node, what its
// answer is decoded into. A node that does not answer is left out, as one that
// has nothing to tell.
func (s source) ask(ctx context.Context, path string, into func(n *corev1.Node) any) error {
	obj, err := s.nodes.List(ctx, &metainternalversion.ListOptions{})
	if err != nil {
		return err
	}
	list, ok := obj.(*corev1.NodeList)
	if !ok {
		return fmt.Errorf("%T is no NodeList", obj)
	}
	var wg sync.WaitGroup
	for i := range list.Items {
		n := &list.Items[i]
		to := into(n)
		wg.Go(func() {
			if err := s.fetch(ctx, n.Name, path, to); err != nil {
				// Its zero value tells nothing.
				return
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

func (s source) fetch(ctx context.Context, node, path string, to any) error {
	base, rt, err := s.transport(node)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+path, nil)
	if err != nil {
		return err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("node %s answers %s", node, resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(to)
}

// nodeMetrics returns those of all nodes, by name.
func (s source) nodeMetrics(ctx context.Context) ([]metricsv1beta1.NodeMetrics, error) {
	var lists []*metricsv1beta1.NodeMetricsList
	var nodes []*corev1.Node
	err := s.ask(ctx, "/metrics.k8s.io/nodes", func(n *corev1.Node) any {
		l := &metricsv1beta1.NodeMetricsList{}
		lists, nodes = append(lists, l), append(nodes, n)
		return l
	})
	var out []metricsv1beta1.NodeMetrics
	for i, l := range lists {
		for _, m := range l.Items {
			m.Name, m.Labels, m.CreationTimestamp = nodes[i].Name, nodes[i].Labels, m.Timestamp
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b metricsv1beta1.NodeMetrics) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}

// podMetrics returns those of all pods, by namespace and name.
func (s source) podMetrics(ctx context.Context) ([]metricsv1beta1.PodMetrics, error) {
	var lists []*metricsv1beta1.PodMetricsList
	err := s.ask(ctx, "/metrics.k8s.io/pods", func(*corev1.Node) any {
		l := &metricsv1beta1.PodMetricsList{}
		lists = append(lists, l)
		return l
	})
	var out []metricsv1beta1.PodMetrics
	for _, l := range lists {
		for _, m := range l.Items {
			m.CreationTimestamp = m.Timestamp
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b metricsv1beta1.PodMetrics) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return out, err
}

// selects says whether the options of a list ask for an object.
func selects(o *metainternalversion.ListOptions, l map[string]string, f fields.Set) bool {
	if o == nil {
		return true
	}
	return (o.LabelSelector == nil || o.LabelSelector.Matches(labels.Set(l))) &&
		(o.FieldSelector == nil || o.FieldSelector.Matches(f))
}
