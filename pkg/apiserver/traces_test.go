package apiserver_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/carob-project/carob/pkg/apiserver"
	"github.com/carob-project/carob/pkg/pki"
	"github.com/carob-project/carob/pkg/tracing"
)

func TestTracesOfRequests(t *testing.T) {
	tracer, err := tracing.New(t.Context(), tracing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	i := start(t, func(o *apiserver.Options) { o.Tracer = tracer })
	pods := i.client.CoreV1().Pods("default")
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "b"}}}}
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	if _, err := pods.Create(t.Context(), p, dry); err != nil {
		t.Fatal(err)
	}
	if _, ok := tracer.Find("default", "web", ""); ok {
		t.Error("a dry run has a trace")
	}
	made, err := pods.Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	if _, err := i.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: "web", UID: made.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"},
	}
	if err := pods.Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pods.Delete(t.Context(), "web", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	if err := pods.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	data, err := i.client.CoreV1().RESTClient().Get().AbsPath(tracing.Path, "default", "web").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got tracing.Trace
	if err := json.Unmarshal(data, &got); err != nil || got.UID != made.UID || got.TraceID != tracing.TraceID(made.UID).String() {
		t.Fatalf("%v: %s", err, data)
	}
	var names []string
	for _, s := range got.Spans {
		names = append(names, s.Name)
		if s.Took < 0 || strings.HasPrefix(s.Name, "API") && s.Attributes["user"] != pki.AdminUser {
			t.Errorf("%+v", s)
		}
	}
	want := []string{"API create", "decode, authorize, admit", "default and validate", "admission validates", "store", "API bind", "API delete"}
	if !slices.Equal(names, want) {
		t.Errorf("spans %q, want %q", names, want)
	}
}

// Traces tell of images, commands' failures and users: only administrators may
// read them.
func TestTracesAreForAdministrators(t *testing.T) {
	tracer, err := tracing.New(t.Context(), tracing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	i := start(t, func(o *apiserver.Options) { o.Tracer = tracer })
	get := func(c *rest.Config) error {
		client, err := kubernetes.NewForConfig(c)
		if err != nil {
			t.Fatal(err)
		}
		return client.CoreV1().RESTClient().Get().AbsPath(tracing.Path, "default", "none").Do(t.Context()).Error()
	}
	if err := get(i.admin); !apierrors.IsNotFound(err) {
		t.Errorf("administrator: %v", err)
	}
	for name, c := range map[string]*rest.Config{
		"a user": i.config(t, "someone", "some"), "a node": i.config(t, pki.NodeUser("n1"), pki.GroupNodes),
		"the scheduler": i.config(t, pki.UserScheduler), "nobody": rest.AnonymousClientConfig(i.admin),
	} {
		if err := get(c); !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
