package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// cluster has nodes whose agents answer as they are told.
type cluster struct {
	names []string
	err   error
}

func (c cluster) List(context.Context, *metainternalversion.ListOptions) (runtime.Object, error) {
	l := &corev1.NodeList{}
	for _, n := range c.names {
		l.Items = append(l.Items, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n, Labels: map[string]string{"node": n}}})
	}
	return l, c.err
}

const stamp = `"timestamp":"2026-01-02T03:04:05Z","window":"15s"`

// answers are what the agents say, by node and path; another status than 200 is
// a number.
func transport(t *testing.T, answers map[string]string) Transport {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = fmt.Fprint(w, text)
	}))
	t.Cleanup(s.Close)
	return func(node string) (string, http.RoundTripper, error) {
		if node == "away" {
			return "", nil, errors.New("no way there")
		}
		return s.URL + "/" + node + "/", http.DefaultTransport, nil
	}
}

func storage(t *testing.T) (*nodeREST, *podREST) {
	t.Helper()
	pod := func(ns, name string) string {
		return fmt.Sprintf(`{"metadata":{"namespace":%q,"name":%q,"labels":{"app":%q}},%s,"containers":[{"name":"x","usage":{"cpu":"1m","memory":"1Mi"}},{"name":"y","usage":{"cpu":"2m"}}]}`, ns, name, name, stamp)
	}
	all := New(cluster{names: []string{"two", "away", "one", "sick", "mad"}}, transport(t, map[string]string{
		"/one/metrics.k8s.io/nodes": `{"items":[{"metadata":{"name":"liar"},` + stamp + `,"usage":{"cpu":"250m","memory":"1Gi"}}]}`,
		"/two/metrics.k8s.io/nodes": `{"items":[{` + stamp + `,"usage":{"cpu":"1"}}]}`,
		"/mad/metrics.k8s.io/nodes": `{"items":[{`,
		"/one/metrics.k8s.io/pods":  `{"items":[` + pod("b", "web") + "," + pod("a", "z") + `]}`,
		"/two/metrics.k8s.io/pods":  `{"items":[` + pod("a", "job") + `]}`,
	}))
	return all["nodes"].(*nodeREST), all["pods"].(*podREST)
}

func TestLists(t *testing.T) {
	nodes, pods := storage(t)
	byLabel := func(s string) *metainternalversion.ListOptions {
		l, err := labels.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return &metainternalversion.ListOptions{LabelSelector: l}
	}
	byName := func(name string) *metainternalversion.ListOptions {
		return &metainternalversion.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name)}
	}
	for name, x := range map[string]struct {
		namespace   string
		options     *metainternalversion.ListOptions
		nodes, pods string
	}{
		"all":              {options: nil, nodes: "one two", pods: "a/job a/z b/web"},
		"with no selector": {options: &metainternalversion.ListOptions{}, nodes: "one two", pods: "a/job a/z b/web"},
		"a namespace":      {namespace: "a", nodes: "one two", pods: "a/job a/z"},
		"labels":           {options: byLabel("app=web"), pods: "b/web"},
		"a node's":         {options: byLabel("node in (two,away)"), nodes: "two"},
		"a name":           {options: byName("job"), pods: "a/job"},
		"elsewhere":        {namespace: "b", options: byName("job")},
	} {
		ctx := request.WithNamespace(t.Context(), x.namespace)
		n, err := nodes.List(ctx, x.options)
		if err != nil {
			t.Fatal(err)
		}
		p, err := pods.List(ctx, x.options)
		if err != nil {
			t.Fatal(err)
		}
		var gotNodes, gotPods []string
		for _, m := range n.(*metricsv1beta1.NodeMetricsList).Items {
			gotNodes = append(gotNodes, m.Name)
		}
		for _, m := range p.(*metricsv1beta1.PodMetricsList).Items {
			gotPods = append(gotPods, m.Namespace+"/"+m.Name)
		}
		if strings.Join(gotNodes, " ") != x.nodes || strings.Join(gotPods, " ") != x.pods {
			t.Errorf("%s: %v, %v", name, gotNodes, gotPods)
		}
	}
}

func TestGet(t *testing.T) {
	nodes, pods := storage(t)
	n, err := nodes.Get(t.Context(), "one", nil)
	if err != nil {
		t.Fatal(err)
	}
	// The node is named by the API, whatever it says itself.
	if m := n.(*metricsv1beta1.NodeMetrics); m.Usage.Cpu().String() != "250m" || m.Labels["node"] != "one" || !m.CreationTimestamp.Equal(&m.Timestamp) || m.Window.Duration != 15*time.Second {
		t.Errorf("got %+v", m)
	}
	for _, name := range []string{"away", "sick", "mad", "liar", "none"} {
		if _, err := nodes.Get(t.Context(), name, nil); !apierrors.IsNotFound(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx := request.WithNamespace(t.Context(), "a")
	p, err := pods.Get(ctx, "job", nil)
	if err != nil || len(p.(*metricsv1beta1.PodMetrics).Containers) != 2 {
		t.Errorf("%v %v", p, err)
	}
	if _, err := pods.Get(ctx, "web", nil); !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), `"a/web" not found`) {
		t.Errorf("in another namespace: %v", err)
	}
	failing := New(cluster{err: errors.New("no nodes")}, nil)
	if _, err := failing["nodes"].(*nodeREST).Get(t.Context(), "one", nil); err == nil || apierrors.IsNotFound(err) {
		t.Errorf("without a list of nodes: %v", err)
	}
	if _, err := failing["pods"].(*podREST).List(t.Context(), nil); err == nil {
		t.Error("an empty list, where it is not known")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := pods.List(over, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that has gone: %v", err)
	}
}

func TestTables(t *testing.T) {
	nodes, pods := storage(t)
	ctx := request.WithNamespace(t.Context(), "")
	list, err := nodes.List(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	table, err := nodes.ConvertToTable(ctx, list, &metav1.TableOptions{})
	if err != nil || len(table.ColumnDefinitions) != 4 || fmt.Sprint(table.Rows[0].Cells, table.Rows[1].Cells) != "[one 250m 1Gi 15s] [two 1 0 15s]" {
		t.Errorf("%v %+v", err, table)
	}
	if list, err = pods.List(ctx, nil); err != nil {
		t.Fatal(err)
	}
	table, err = pods.ConvertToTable(ctx, list, &metav1.TableOptions{NoHeaders: true})
	if err != nil || len(table.ColumnDefinitions) != 0 || len(table.Rows) != 3 || fmt.Sprint(table.Rows[2].Cells) != "[web 3m 1Mi 15s]" {
		t.Errorf("%v %+v", err, table)
	}
	one := &list.(*metricsv1beta1.PodMetricsList).Items[0]
	if table, err = pods.ConvertToTable(ctx, one, nil); err != nil || len(table.Rows) != 1 {
		t.Errorf("of one: %v %+v", err, table)
	}
}

func TestSelectableFields(t *testing.T) {
	s := runtime.NewScheme()
	if err := AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		kind, label string
		ok          bool
	}{
		{"NodeMetrics", "metadata.name", true}, {"NodeMetrics", "metadata.namespace", false},
		{"PodMetrics", "metadata.namespace", true}, {"PodMetrics", "spec.nodeName", false},
	} {
		_, _, err := s.ConvertFieldLabel(metricsv1beta1.SchemeGroupVersion.WithKind(x.kind), x.label, "v")
		if (err == nil) != x.ok {
			t.Errorf("%s of %s: %v", x.label, x.kind, err)
		}
	}
}
