package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/carob-project/carob/pkg/folder"
)

// folderWorld is a folder that is kept applied.
type folderWorld struct {
	t      *testing.T
	dir    string
	c      kubernetes.Interface
	config *rest.Config

	mu     sync.Mutex
	events []string
}

func (w *folderWorld) cluster() folder.Cluster {
	return folder.API{Discovery: w.c.Discovery(), Dynamic: dynamic.NewForConfigOrDie(w.config), Metadata: metadata.NewForConfigOrDie(w.config)}
}

// keep keeps the folder until the function returned is called, or the test ends.
func (w *folderWorld) keep() (stop func()) {
	w.t.Helper()
	f, err := folder.New(folder.Options{
		Dir: w.dir, Client: w.c, Cluster: w.cluster(), Tool: "carob/v0", Log: zaptest.NewLogger(w.t, zaptest.Level(zap.ErrorLevel)),
		Tell: func(_, reason, message string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, reason+" "+message)
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				w.t.Errorf("folder: %v", err)
			}
		})
	}
	w.t.Cleanup(stop)
	awaitClosed(w.t, "folder", f.Ready())
	return stop
}

func (w *folderWorld) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *folderWorld) remove(name string) {
	w.t.Helper()
	if err := os.RemoveAll(filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

// told says "" when there was an event with all of that.
func (w *folderWorld) told(want ...string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
next:
	for _, e := range w.events {
		for _, text := range want {
			if !strings.Contains(e, text) {
				continue next
			}
		}
		return ""
	}
	return fmt.Sprintf("no event with %q in\n%s", want, strings.Join(w.events, "\n"))
}

// value says "" when the ConfigMap has that under the key k; an empty one
// means that there is no such map.
func (w *folderWorld) value(namespace, name, want string) string {
	m, err := w.c.CoreV1().ConfigMaps(namespace).Get(w.t.Context(), name, metav1.GetOptions{})
	if want == "" {
		return gone(err)
	}
	if err != nil || m.Data["k"] != want {
		return fmt.Sprintf("%s/%s is %v, %v, want %s", namespace, name, m.Data, err, want)
	}
	return ""
}

// shows says "" when the report has a row with all of that.
func (w *folderWorld) shows(want ...string) string {
	reports, err := folder.Reports(w.t.Context(), w.c)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, r := range reports {
		for _, row := range r.Rows {
			text := fmt.Sprintf("%s:%d %s %s/%s %s %s: %s", row.File, row.Line, row.Kind, row.Namespace, row.Name, row.State, row.Field, row.Error)
			all = append(all, text)
			found := true
			for _, part := range want {
				found = found && strings.Contains(text, part)
			}
			if found {
				return ""
			}
		}
	}
	return fmt.Sprintf("no row with %q in\n%s", want, strings.Join(all, "\n"))
}

func mapText(namespace, name, value string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata: {k: %q}\n", name, namespace, value)
}

const namespaceText = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: %s\n"

const brokenDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
%s
`

func TestFolder(t *testing.T) {
	config := startConfig(t)
	w := &folderWorld{t: t, dir: t.TempDir(), c: kubernetes.NewForConfigOrDie(config), config: config}
	makeMap(t, w.c, "default", "foreign")
	stop := w.keep()

	// Order does not matter: the namespace comes in a later file, or much later.
	w.write("a.yaml", mapText("early", "a", "1")+mapText("late", "a", "1"))
	w.write("b.yaml", fmt.Sprintf(namespaceText, "early"))
	eventually(t, func() string { return w.value("early", "a", "1") })
	eventually(t, func() string { return w.shows("ConfigMap late/a", "Waiting", `namespaces "late" not found`) })
	makeNamespace(t, w.c, "late")
	eventually(t, func() string { return w.value("late", "a", "1") })

	// What is wrong is told with file, line and field, and changes nothing.
	for _, bad := range []struct {
		lines string
		want  []string
	}{
		{"        imagee: x", []string{"web.yaml:11", "spec.template.spec.containers[0].imagee"}},
		{"        image: ''", []string{"spec.template.spec.containers[0].image", "Required value"}},
		{"        image: x\n  replicas: many", []string{"web.yaml:12", "spec.replicas"}},
		{"        image: x\n  replicas: -1", []string{"web.yaml:12", "spec.replicas", "must be greater than or equal to 0"}},
		{"        image: x\n   replicas: 1", []string{"web.yaml:1", "did not find expected"}},
		{"        image: x\n        image: y", []string{"web.yaml:1", "image"}},
	} {
		w.write("web.yaml", fmt.Sprintf(brokenDeployment, bad.lines)+mapText("early", "beside", "1"))
		eventually(t, func() string { return w.told(append(bad.want, "ManifestWrong")...) })
	}
	if text := w.value("early", "beside", ""); text != "" {
		t.Error(text)
	}
	w.write("web.yaml", fmt.Sprintf(brokenDeployment, "        image: x")+mapText("early", "beside", "1"))
	eventually(t, func() string { return w.value("early", "beside", "1") })

	// A file that gets wrong leaves all of its last good state, also after a
	// restart; another one is pruned all the same.
	w.write("c.yaml", mapText("early", "c", "1"))
	eventually(t, func() string { return w.value("early", "c", "1") })
	w.write("web.yaml", "apiVersion: [\n")
	eventually(t, func() string { return w.shows("web.yaml", "Wrong") })
	stop()
	stop = w.keep()
	w.remove("c.yaml")
	eventually(t, func() string { return w.value("early", "c", "") })
	if text := w.value("early", "beside", "1"); text != "" {
		t.Error(text)
	}
	w.write("web.yaml", mapText("early", "beside", "2"))
	eventually(t, func() string { return w.value("early", "beside", "2") })
	eventually(t, func() string {
		_, err := w.c.AppsV1().Deployments("default").Get(t.Context(), "web", metav1.GetOptions{})
		return gone(err)
	})

	// Moved to another file, an object stays what it is.
	before, err := w.c.CoreV1().ConfigMaps("early").Get(t.Context(), "beside", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.remove("web.yaml")
	w.write("sub/web.json", `{"apiVersion": "v1", "kind": "ConfigMap",
	"metadata": {"name": "beside", "namespace": "early"}, "data": {"k": "3"}}`)
	eventually(t, func() string { return w.value("early", "beside", "3") })
	if now, err := w.c.CoreV1().ConfigMaps("early").Get(t.Context(), "beside", metav1.GetOptions{}); err != nil || now.UID != before.UID {
		t.Errorf("it is another one: %v", err)
	}
	w.ownership()
	w.endings(stop)
}

// ownership: what others make is not taken, what others change is brought back.
func (w *folderWorld) ownership() {
	t := w.t
	w.write("foreign.yaml", mapText("default", "foreign", "mine"))
	eventually(t, func() string { return w.shows("ConfigMap default/foreign", "Wrong", "the folder has not made it") })
	w.write("foreign.yaml", strings.Replace(mapText("default", "foreign", "mine"), "metadata: {", `metadata: {annotations: {carob.dev/adopt: "true"}, `, 1))
	eventually(t, func() string { return w.value("default", "foreign", "mine") })

	if _, err := w.c.CoreV1().ConfigMaps("early").Patch(t.Context(), "beside", types.MergePatchType, []byte(`{"data":{"k":"by hand","other":"stays"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string { return w.told("ManifestRestored", "early/beside") })
	eventually(t, func() string { return w.value("early", "beside", "3") })
	m, err := w.c.CoreV1().ConfigMaps("early").Get(t.Context(), "beside", metav1.GetOptions{})
	if err != nil || m.Data["other"] != "stays" {
		t.Errorf("what is not the folder's: %v %v", m.Data, err)
	}
	if err := w.c.CoreV1().ConfigMaps("early").Delete(t.Context(), "beside", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string { return w.value("early", "beside", "3") })
	eventually(t, func() string { return w.shows("early/beside", "Applied") })
	quiet(t, func() string {
		m, err := w.c.CoreV1().ConfigMaps("kube-system").Get(t.Context(), folder.RecordName, metav1.GetOptions{})
		return fmt.Sprint(m.ResourceVersion, err)
	})
	// Two files that want the same object: the one that has it keeps it.
	w.write("twice.yaml", mapText("early", "beside", "4"))
	eventually(t, func() string { return w.told("twice.yaml:2", "early/beside is also in sub/web.json:1") })
	if text := w.value("early", "beside", "3"); text != "" {
		t.Error(text)
	}
	w.remove("twice.yaml")
}

// endings: a namespace that others use stays, a folder that is gone prunes
// nothing, an empty one all.
func (w *folderWorld) endings(stop func()) {
	t := w.t
	guest := makeMap(t, w.c, "early", "guest")
	w.remove("a.yaml")
	w.remove("b.yaml")
	w.remove("sub")
	eventually(t, func() string { return w.value("late", "a", "") })
	eventually(t, func() string { return w.shows("Namespace /early", "Kept", "ConfigMap guest") })
	deleteMap(t, w.c, guest, metav1.DeletePropagationBackground)
	eventually(t, func() string {
		_, err := w.c.CoreV1().Namespaces().Get(t.Context(), "early", metav1.GetOptions{})
		return gone(err)
	})
	away := w.dir + "-away"
	if err := os.Rename(w.dir, away); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string { return w.shows("no such file or directory") })
	if text := w.value("default", "foreign", "mine"); text != "" {
		t.Error(text)
	}
	if err := os.Rename(away, w.dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string { return w.shows("foreign.yaml", "Applied") })
	stop()
	// Once, by hand, it is the same set.
	w.write("once.yaml", mapText("default", "once", "1"))
	w.remove("foreign.yaml")
	report, did, err := folder.Once(t.Context(), w.c, w.cluster(), w.dir, "default", "carob/v0")
	if err != nil || report.Failed() || len(did) != 2 || report.Set != folder.RecordName {
		t.Errorf("%+v %+v %v", report, did, err)
	}
	w.remove("once.yaml")
	w.keep()
	eventually(t, func() string { return w.value("default", "once", "") })
	eventually(t, func() string { return w.value("default", "foreign", "") })
}
