package apiserver_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/carob-project/carob/pkg/apiserver"
)

// agentAnswers are what the agent of one node tells.
var agentAnswers = map[string]string{
	"/metrics.k8s.io/nodes": `{"items":[{"metadata":{"name":"one"},"timestamp":"2026-01-02T03:04:05Z","window":"20s",
		"usage":{"cpu":"250m","memory":"1Gi"}}]}`,
	"/metrics.k8s.io/pods": `{"items":[
		{"metadata":{"namespace":"b","name":"web","labels":{"app":"web"}},"timestamp":"2026-01-02T03:04:05Z","window":"15s",
			"containers":[{"name":"x","usage":{"cpu":"1m","memory":"1Mi"}},{"name":"y","usage":{"cpu":"2m","memory":"2Mi"}}]},
		{"metadata":{"namespace":"a","name":"job"},"timestamp":"2026-01-02T03:04:05Z","window":"15s",
			"containers":[{"name":"z","usage":{"cpu":"3m","memory":"3Mi"}}]}]}`,
}

// TestMetrics asks for metrics of two nodes, one of which does not answer.
func TestMetrics(t *testing.T) {
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, agentAnswers[r.URL.Path])
	}))
	t.Cleanup(agent.Close)
	i := start(t, func(o *apiserver.Options) {
		o.NodeTransport = func(node string) (string, http.RoundTripper, error) {
			if node != "one" {
				return "", nil, fmt.Errorf("no way to %s", node)
			}
			return agent.URL, http.DefaultTransport, nil
		}
	})
	for _, name := range []string{"one", "two"} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"is": name}}}
		if _, err := i.client.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	cfg := rest.CopyConfig(i.admin)
	cfg.APIPath, cfg.GroupVersion = "/apis", &metricsv1beta1.SchemeGroupVersion
	cfg.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	cfg.ContentType, cfg.AcceptContentTypes = "application/json", "application/json"
	client, err := rest.RESTClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"nodes":                                  `"name":"one"`,
		"nodes?labelSelector=is%3Done":           `"labels":{"is":"one"}`,
		"nodes/one":                              `"cpu":"250m"`,
		"pods":                                   `"name":"job"`,
		"namespaces/b/pods":                      `"name":"web"`,
		"namespaces/b/pods/web":                  `"kind":"PodMetrics"`,
		"pods?labelSelector=app%3Dweb":           `"name":"web"`,
		"pods?fieldSelector=metadata.name%3Djob": `"name":"job"`,
	} {
		body, err := client.Get().RequestURI("/apis/metrics.k8s.io/v1beta1/" + path).DoRaw(t.Context())
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s: %v\n%s", path, err, body)
		}
		if one := path != "pods"; one && strings.Count(string(body), `"timestamp"`) != 1 {
			t.Errorf("%s answers more or less than one:\n%s", path, body)
		}
	}
	for path, want := range map[string]string{
		"nodes/two":             `nodemetrics.metrics.k8s.io "two" not found`,
		"namespaces/a/pods/web": `podmetrics.metrics.k8s.io "a/web" not found`,
	} {
		err := client.Get().RequestURI("/apis/metrics.k8s.io/v1beta1/" + path).Do(t.Context()).Error()
		if !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	body, err := client.Get().RequestURI("/apis/metrics.k8s.io/v1beta1/namespaces/b/pods").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil || !strings.Contains(string(body), `"cells":["web","3m","3Mi","15s"]`) {
		t.Errorf("table: %v\n%s", err, body)
	}
}
