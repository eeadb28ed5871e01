package apiserver_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/carob-project/carob/pkg/apiserver"
	"github.com/carob-project/carob/pkg/pki"
)

func makeNamespace(t *testing.T, i *instance, name string) {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := i.client.CoreV1().Namespaces().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	makeAccount(t, i, name, "default")
}

func TestSpecAndStatusHaveSeparateWriters(t *testing.T) {
	nodes := start(t).client.CoreV1().Nodes()
	n, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.Spec.Unschedulable = true
	n.Status.NodeInfo.KernelVersion = "6"
	if n, err = nodes.Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if !n.Spec.Unschedulable || n.Status.NodeInfo.KernelVersion != "" {
		t.Errorf("after update: %+v", n)
	}
	n.Spec.Unschedulable = false
	n.Status.NodeInfo.KernelVersion = "6"
	if n, err = nodes.UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if !n.Spec.Unschedulable || n.Status.NodeInfo.KernelVersion != "6" {
		t.Errorf("after status update: %+v", n)
	}
}

func TestNamespaceLivesUntilItIsFinalized(t *testing.T) {
	i := start(t)
	spaces := i.client.CoreV1().Namespaces()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}
	if _, err := i.client.CoreV1().ConfigMaps("none").Create(t.Context(), cm, metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("in no namespace: %v", err)
	}
	if err := spaces.Delete(t.Context(), "kube-system", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("kube-system: %v", err)
	}
	makeNamespace(t, i, "work")
	n, err := spaces.Get(t.Context(), "work", metav1.GetOptions{})
	if err != nil || n.Labels[corev1.LabelMetadataName] != "work" || len(n.Spec.Finalizers) != 1 || n.Status.Phase != corev1.NamespaceActive {
		t.Fatalf("%+v, %v", n, err)
	}
	for range 2 {
		if err := spaces.Delete(t.Context(), "work", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := i.client.CoreV1().ConfigMaps("work").Create(t.Context(), cm, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("in a terminating namespace: %v", err)
	}
	if n, err = spaces.Get(t.Context(), "work", metav1.GetOptions{}); err != nil || n.Status.Phase != corev1.NamespaceTerminating {
		t.Fatalf("%+v, %v", n, err)
	}
	n.Spec.Finalizers = nil
	if _, err := spaces.Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if n, err = spaces.Get(t.Context(), "work", metav1.GetOptions{}); err != nil || len(n.Spec.Finalizers) != 1 {
		t.Fatalf("finalizers were writable: %+v, %v", n, err)
	}
	n.Spec.Finalizers = nil
	if _, err := spaces.Finalize(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := spaces.Get(t.Context(), "work", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after finalize: %v", err)
	}
}

func TestOneEventThroughBothGroups(t *testing.T) {
	i := start(t)
	about := corev1.ObjectReference{Kind: "Pod", Name: "p", Namespace: "default", FieldPath: "spec.containers{a}"}
	in := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "e"}, EventTime: metav1.NewMicroTime(time.Now()), Reason: "Pulled", Note: "note",
		Type: "Normal", Action: "Pulling", ReportingController: "carob.dev/agent", ReportingInstance: "n", Regarding: about,
	}
	if _, err := i.client.EventsV1().Events("default").Create(t.Context(), in, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := i.client.CoreV1().Events("default").Get(t.Context(), "e", metav1.GetOptions{})
	if err != nil || got.Message != "note" || got.ReportingController != "carob.dev/agent" || got.InvolvedObject != about {
		t.Fatalf("%+v, %v", got, err)
	}
	byCore, err := i.client.CoreV1().Events("").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=p,reason=Pulled,type=Normal,source=carob.dev/agent"})
	if err != nil || len(byCore.Items) != 1 {
		t.Errorf("core: %d, %v", len(byCore.Items), err)
	}
	byEvents, err := i.client.EventsV1().Events("").List(t.Context(), metav1.ListOptions{FieldSelector: "regarding.name=p,reportingController=carob.dev/agent"})
	if err != nil || len(byEvents.Items) != 1 || byEvents.Items[0].Note != "note" {
		t.Errorf("events: %+v, %v", byEvents, err)
	}
	in.Name, in.Action = "f", ""
	if _, err := i.client.EventsV1().Events("default").Create(t.Context(), in, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("without an action: %v", err)
	}
}

func TestFieldSelectors(t *testing.T) {
	i := start(t)
	for _, s := range []*corev1.Secret{
		{ObjectMeta: metav1.ObjectMeta{Name: "a"}, StringData: map[string]string{"k": "v"}},
		{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Type: "kubernetes.io/basic-auth", StringData: map[string]string{"username": "v"}},
	} {
		if _, err := i.client.CoreV1().Secrets("default").Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := i.client.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{FieldSelector: "type=kubernetes.io/basic-auth"})
	if err != nil || len(l.Items) != 1 || l.Items[0].Name != "b" || string(l.Items[0].Data["username"]) != "v" || l.Items[0].StringData != nil {
		t.Errorf("%+v, %v", l, err)
	}
	n, err := i.client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{FieldSelector: "status.phase=Active"})
	if err != nil || len(n.Items) != 4 {
		t.Errorf("%d namespaces, %v", len(n.Items), err)
	}
	if _, err := i.client.CoreV1().ConfigMaps("").List(t.Context(), metav1.ListOptions{FieldSelector: "data=x"}); !apierrors.IsBadRequest(err) {
		t.Errorf("unknown field: %v", err)
	}
}

func TestTables(t *testing.T) {
	i := start(t)
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"node-role.kubernetes.io/worker": ""}}}
	if _, err := i.client.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for resource, want := range map[string][]string{
		"nodes":           {"Name", "Status", "Roles", "Age", "Version", "Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"},
		"namespaces":      {"Name", "Status", "Age"},
		"configmaps":      {"Name", "Data", "Age"},
		"secrets":         {"Name", "Type", "Data", "Age"},
		"serviceaccounts": {"Name", "Secrets", "Age"},
		"events":          {"Last Seen", "Type", "Reason", "Object", "Subobject", "Source", "Message", "First Seen", "Count", "Name"},
		"pods":            {"Name", "Ready", "Status", "Restarts", "Age", "IP", "Node", "Nominated Node", "Readiness Gates"},
		"nodes/n":         {"Name", "Status", "Roles", "Age", "Version", "Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"},
	} {
		raw, err := i.client.CoreV1().RESTClient().Get().AbsPath("/api/v1/"+resource).
			SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		table := metav1.Table{}
		if err := json.Unmarshal(raw, &table); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range table.ColumnDefinitions {
			got = append(got, c.Name)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", resource, d)
		}
		if resource == "nodes" {
			if d := cmp.Diff([]any{"n", "Unknown", "worker"}, table.Rows[0].Cells[:3]); d != "" {
				t.Error(d)
			}
		}
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	i := start(t)
	stranger, err := pki.Open(pki.Options{Dir: filepath.Join(t.TempDir(), "pki")})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := stranger.Ephemeral("admin", pki.GroupMasters)
	if err != nil {
		t.Fatal(err)
	}
	insecure := rest.TLSClientConfig{CAData: i.pki.CA()}
	wrongCA := rest.TLSClientConfig{CAData: i.pki.CA(), CertData: foreign.Cert, KeyData: foreign.Key}
	configs := map[string]*rest.Config{
		"anonymous": {Host: i.URL(), TLSClientConfig: insecure},
		"wrong CA":  {Host: i.URL(), TLSClientConfig: wrongCA},
		"token":     {Host: i.URL(), TLSClientConfig: insecure, BearerToken: "guess"},
		"unknown":   i.config(t, "somebody"),
		"node":      i.config(t, pki.NodeUser("n"), pki.GroupNodes),
		"admin":     i.admin,
	}
	for _, c := range []struct {
		who, path string
		want      int
	}{
		{"anonymous", "/readyz", 200}, {"anonymous", "/livez", 200}, {"anonymous", "/healthz", 200}, {"anonymous", "/version", 200},
		{"anonymous", "/metrics", 403}, {"anonymous", "/api", 403}, {"anonymous", "/api/v1/secrets", 403}, {"anonymous", "/openapi/v2", 403},
		{"anonymous", "/debug/pprof/", 403}, {"token", "/api/v1/secrets", 401},
		{"wrong CA", "/readyz", 401}, {"wrong CA", "/api/v1/pods", 401},
		{"unknown", "/api", 200}, {"unknown", "/openapi/v3", 200}, {"unknown", "/api/v1/pods", 403}, {"unknown", "/metrics", 403},
		{"node", "/api/v1/pods", 200}, {"node", "/api/v1/secrets", 200}, {"node", "/api/v1/serviceaccounts", 403}, {"node", "/metrics", 403},
		{"admin", "/metrics", 200}, {"admin", "/api/v1/secrets", 200}, {"admin", "/api/v1/nothing", 404},
	} {
		client, err := rest.HTTPClientFor(configs[c.who])
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Get(i.URL() + c.path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s %s: got %d, want %d", c.who, c.path, resp.StatusCode, c.want)
		}
	}
	if _, err := tls.Dial("tcp", strings.TrimPrefix(i.URL(), "https://"), &tls.Config{MinVersion: tls.VersionTLS12}); err == nil {
		t.Error("a client that does not know the authority trusts the server")
	}
}

func TestNodesWriteOnlyTheirOwnNode(t *testing.T) {
	i := start(t)
	agent := i.as(t, pki.NodeUser("mine"), pki.GroupNodes)
	for _, name := range []string{"mine", "other"} {
		if _, err := agent.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	patch := []byte(`{"status":{"nodeInfo":{"kernelVersion":"6"}}}`)
	if _, err := agent.CoreV1().Nodes().Patch(t.Context(), "mine", types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Error(err)
	}
	if _, err := agent.CoreV1().Nodes().Patch(t.Context(), "other", types.MergePatchType, patch, metav1.PatchOptions{}, "status"); !apierrors.IsForbidden(err) {
		t.Errorf("other node: %v", err)
	}
}

func TestObjectsOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	i := startIn(t, dir)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Data: map[string]string{"k": "v"}}
	if _, err := i.client.CoreV1().ConfigMaps("default").Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	i.stop()
	i = startIn(t, dir)
	got, err := i.client.CoreV1().ConfigMaps("default").Get(t.Context(), "c", metav1.GetOptions{})
	if err != nil || got.Data["k"] != "v" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAdminKubeconfig(t *testing.T) {
	i := start(t)
	file := filepath.Join(t.TempDir(), "admin.kubeconfig")
	if err := i.pki.WriteAdminKubeconfig(file, i.URL()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	c, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

func TestLogsComeFromTheNode(t *testing.T) {
	asked := make(chan string, 8)
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.String()
		if r.URL.Query().Get("previous") != "" {
			http.Error(w, "previous terminated container not found", http.StatusBadRequest)
			return
		}
		for n := range 2 {
			_, _ = fmt.Fprintf(w, "line %d\n", n)
			_ = http.NewResponseController(w).Flush()
			if n == 0 && r.URL.Query().Get("follow") != "" {
				<-r.Context().Done()
				return
			}
		}
	}))
	defer agent.Close()
	i := start(t, func(o *apiserver.Options) {
		o.NodeTransport = func(node string) (string, http.RoundTripper, error) {
			if node != "n" {
				return "", nil, fmt.Errorf("no node %s", node)
			}
			return agent.URL, http.DefaultTransport, nil
		}
	})
	pods := i.client.CoreV1().Pods("default")
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{
		{Name: "a", Image: "i"}, {Name: "b", Image: "i"},
	}}}
	if _, err := pods.Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := pods.GetLogs("p", &corev1.PodLogOptions{}).Stream(t.Context())
	if err == nil || err.Error() != "a container name must be specified for pod p, choose one of: [a b]" {
		t.Errorf("without a container: %v", err)
	}
	tail := int64(7)
	raw, err := pods.GetLogs("p", &corev1.PodLogOptions{Container: "b", TailLines: &tail, Timestamps: true}).DoRaw(t.Context())
	if err != nil || string(raw) != "line 0\nline 1\n" {
		t.Errorf("%q, %v", raw, err)
	}
	if got, want := <-asked, "/containerLogs/default/p/b?tailLines=7&timestamps=true"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	if _, err := pods.GetLogs("p", &corev1.PodLogOptions{Container: "a", Previous: true}).Stream(t.Context()); !apierrors.IsBadRequest(err) {
		t.Errorf("previous: %v", err)
	}
	follow, err := pods.GetLogs("p", &corev1.PodLogOptions{Container: "a", Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("line 0\n"))
	if _, err := io.ReadFull(follow, first); err != nil || string(first) != "line 0\n" {
		t.Errorf("followed %q, %v", first, err)
	}
	_ = follow.Close()
}

func TestDocumentation(t *testing.T) {
	i := start(t)
	for _, path := range []string{"/openapi/v2", "/openapi/v3/api/v1", "/openapi/v3/apis/events.k8s.io/v1", "/apis"} {
		raw, err := i.client.CoreV1().RESTClient().Get().AbsPath(path).SetHeader("Accept", "application/json").DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "__internal") {
			t.Errorf("%s shows internal versions", path)
		}
	}
	groups, _, err := i.client.Discovery().ServerGroupsAndResources()
	if err != nil || len(groups) < 7 {
		t.Fatalf("%d groups, %v", len(groups), err)
	}
	v, err := i.client.Discovery().ServerVersion()
	if err != nil || !strings.HasPrefix(v.GitVersion, "v1.37.") {
		t.Errorf("version %+v, %v", v, err)
	}
}
