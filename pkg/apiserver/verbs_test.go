package apiserver_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

type sample struct {
	gvr        schema.GroupVersionResource
	namespaced bool
	manifest   string
	// collection says that the kind can be deleted as a collection.
	collection bool
}

func samples() map[string]sample {
	v1 := func(r string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Version: "v1", Resource: r}
	}
	return map[string]sample{
		"ConfigMap":      {v1("configmaps"), true, `{apiVersion: v1, kind: ConfigMap, data: {k: v}}`, true},
		"Secret":         {v1("secrets"), true, `{apiVersion: v1, kind: Secret, stringData: {k: v}}`, true},
		"ServiceAccount": {v1("serviceaccounts"), true, `{apiVersion: v1, kind: ServiceAccount, automountServiceAccountToken: false}`, true},
		"Namespace":      {v1("namespaces"), false, `{apiVersion: v1, kind: Namespace}`, false},
		"Node":           {v1("nodes"), false, `{apiVersion: v1, kind: Node, spec: {podCIDR: 10.1.0.0/24, podCIDRs: [10.1.0.0/24]}}`, true},
		"Pod": {v1("pods"), true, `{apiVersion: v1, kind: Pod, spec: {terminationGracePeriodSeconds: 0,
			containers: [{name: a, image: busybox}]}}`, true},
		"PodTemplate": {v1("podtemplates"), true, `{apiVersion: v1, kind: PodTemplate, template: {spec: {
			containers: [{name: a, image: busybox}]}}}`, true},
		"Event": {v1("events"), true, `{apiVersion: v1, kind: Event, reason: R, message: m, type: Normal,
			involvedObject: {kind: Pod, name: p, namespace: work}}`, true},
		"events.k8s.io Event": {schema.GroupVersionResource{Group: "events.k8s.io", Version: "v1", Resource: "events"}, true,
			`{apiVersion: events.k8s.io/v1, kind: Event, reason: R, note: m, type: Normal, action: Doing, eventTime: "2026-01-02T03:04:05.000006Z",
			reportingController: carob.dev/agent, reportingInstance: node, regarding: {kind: Pod, name: p, namespace: work}}`, true},
		"PriorityClass": {schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1", Resource: "priorityclasses"}, false,
			`{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, value: 7}`, true},
		"RuntimeClass": {schema.GroupVersionResource{Group: "node.k8s.io", Version: "v1", Resource: "runtimeclasses"}, false,
			`{apiVersion: node.k8s.io/v1, kind: RuntimeClass, handler: runc}`, true},
		"Lease": {schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}, true,
			`{apiVersion: coordination.k8s.io/v1, kind: Lease, spec: {holderIdentity: me, leaseDurationSeconds: 10}}`, true},
	}
}

func (s sample) object(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(s.manifest), &u.Object); err != nil {
		t.Fatal(err)
	}
	u.SetName(name)
	u.SetLabels(map[string]string{"sample": name})
	return u
}

func TestEveryVerbOfEveryKind(t *testing.T) {
	i := start(t)
	makeNamespace(t, i, "work")
	for kind, s := range samples() {
		t.Run(kind, func(t *testing.T) {
			var c dynamic.ResourceInterface = i.dynamic(t).Resource(s.gvr)
			if s.namespaced {
				c = i.dynamic(t).Resource(s.gvr).Namespace("work")
			}
			t.Run("strict", func(t *testing.T) { refusesUnknownFields(t, c, s) })
			t.Run("dry-run", func(t *testing.T) { dryRunKeepsNothing(t, c, s) })
			t.Run("change", func(t *testing.T) { createUpdatePatchDelete(t, c, s) })
			t.Run("apply", func(t *testing.T) { appliesWithOwners(t, c, s) })
			t.Run("list", func(t *testing.T) { listsInPages(t, c, s) })
		})
	}
}

func refusesUnknownFields(t *testing.T, c dynamic.ResourceInterface, s sample) {
	o := s.object(t, "strict")
	o.Object["wrong"] = "x"
	_, err := c.Create(t.Context(), o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if !apierrors.IsBadRequest(err) {
		t.Errorf("got %v, want BadRequest", err)
	}
}

func dryRunKeepsNothing(t *testing.T, c dynamic.ResourceInterface, s sample) {
	if _, err := c.Create(t.Context(), s.object(t, "dry"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "dry", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("got %v, want NotFound", err)
	}
}

func createUpdatePatchDelete(t *testing.T, c dynamic.ResourceInterface, s sample) {
	events, err := c.Watch(t.Context(), metav1.ListOptions{LabelSelector: "sample=one", AllowWatchBookmarks: true})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	o, err := c.Create(t.Context(), s.object(t, "one"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(t.Context(), s.object(t, "one"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("second create: got %v, want AlreadyExists", err)
	}
	o.SetAnnotations(map[string]string{"step": "update"})
	if o, err = c.Update(t.Context(), o, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	stale := o.DeepCopy()
	for patch, body := range map[types.PatchType]string{
		types.JSONPatchType:           `[{"op":"replace","path":"/metadata/annotations/step","value":"json"}]`,
		types.MergePatchType:          `{"metadata":{"annotations":{"step":"merge"}}}`,
		types.StrategicMergePatchType: `{"metadata":{"annotations":{"step":"strategic"}}}`,
	} {
		if _, err := c.Patch(t.Context(), "one", patch, []byte(body), metav1.PatchOptions{}); err != nil {
			t.Errorf("%s: %v", patch, err)
		}
	}
	stale.SetAnnotations(map[string]string{"step": "stale"})
	if _, err := c.Update(t.Context(), stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("stale update: got %v, want Conflict", err)
	}
	if err := c.Delete(t.Context(), "one", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	expectEvents(t, events, s)
}

func expectEvents(t *testing.T, w watch.Interface, s sample) {
	t.Helper()
	// A namespace is only marked: its end is a controller's work.
	want := watch.Deleted
	if s.gvr.Resource == "namespaces" {
		want = watch.Modified
	}
	timeout := time.After(10 * time.Second)
	for n := 0; ; {
		select {
		case e, open := <-w.ResultChan():
			if !open || e.Type == watch.Error {
				t.Fatalf("watch ended: %v", e)
			}
			if e.Type == watch.Bookmark {
				continue
			}
			if n++; n == 1 && e.Type != watch.Added {
				t.Fatalf("first event is %s", e.Type)
			}
			o, ok := e.Object.(*unstructured.Unstructured)
			if e.Type == want && ok && (want == watch.Deleted || o.GetDeletionTimestamp() != nil) {
				return
			}
		case <-timeout:
			t.Fatalf("no %s event after %d events", want, n)
		}
	}
}

func appliesWithOwners(t *testing.T, c dynamic.ResourceInterface, s sample) {
	o := s.object(t, "applied")
	o.SetManagedFields(nil)
	got, err := c.Apply(t.Context(), "applied", o, metav1.ApplyOptions{FieldManager: "first", Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.GetManagedFields()) == 0 {
		t.Error("no managed fields")
	}
	o.SetLabels(map[string]string{"sample": "other"})
	if _, err = c.Apply(t.Context(), "applied", o, metav1.ApplyOptions{FieldManager: "second"}); !apierrors.IsConflict(err) {
		t.Errorf("second manager: got %v, want Conflict", err)
	}
	// What its only owner leaves out goes away.
	o.SetLabels(nil)
	if got, err = c.Apply(t.Context(), "applied", o, metav1.ApplyOptions{FieldManager: "first"}); err != nil {
		t.Fatal(err)
	}
	if got.GetLabels()["sample"] != "" {
		t.Errorf("labels %v", got.GetLabels())
	}
	if err := c.Delete(t.Context(), "applied", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

func listsInPages(t *testing.T, c dynamic.ResourceInterface, s sample) {
	const n = 5
	for k := range n {
		o := s.object(t, fmt.Sprintf("page-%d", k))
		o.SetLabels(map[string]string{"sample": "page"})
		if _, err := c.Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	seen, pages, next := map[string]bool{}, 0, ""
	for {
		l, err := c.List(t.Context(), metav1.ListOptions{LabelSelector: "sample=page", Limit: 2, Continue: next})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range l.Items {
			seen[o.GetName()] = true
		}
		if pages++; l.GetContinue() == "" {
			break
		}
		next = l.GetContinue()
	}
	if len(seen) != n || pages < 3 {
		t.Errorf("%d objects on %d pages", len(seen), pages)
	}
	one, err := c.List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=page-3"})
	if err != nil || len(one.Items) != 1 {
		t.Errorf("by name: %d, %v", len(one.Items), err)
	}
	err = c.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "sample=page"})
	if s.collection != (err == nil) {
		t.Errorf("delete collection: %v", err)
	}
	if !s.collection {
		return
	}
	left, err := c.List(t.Context(), metav1.ListOptions{LabelSelector: "sample=page"})
	if err != nil || len(left.Items) != 0 {
		raw, _ := json.Marshal(left)
		t.Errorf("left: %s, %v", raw, err)
	}
}
