package resources

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSet(t *testing.T) {
	groups := []*metav1.APIGroup{
		{PreferredVersion: metav1.GroupVersionForDiscovery{GroupVersion: "v1"}},
		{Name: "g", PreferredVersion: metav1.GroupVersionForDiscovery{GroupVersion: "g/v2"}},
	}
	thing := metav1.APIResource{Name: "things", Kind: "Thing", Namespaced: true, Verbs: metav1.Verbs{"list", "delete"}}
	set, err := NewSet(groups, []*metav1.APIResourceList{
		{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "pods", Kind: "Pod", Namespaced: true}, {Name: "pods/status", Kind: "Pod", Namespaced: true}}},
		{GroupVersion: "g/v1", APIResources: []metav1.APIResource{thing, {Name: "olds", Kind: "Old"}}},
		{GroupVersion: "g/v2", APIResources: []metav1.APIResource{thing}},
		{GroupVersion: "a/b/c", APIResources: []metav1.APIResource{thing}},
	})
	if err == nil {
		t.Error("an unreadable group version goes untold")
	}
	got := map[string]bool{}
	for _, r := range set.Preferred() {
		got[r.GVR.GroupVersion().String()+"/"+r.GVR.Resource] = true
	}
	for _, want := range []string{"v1/pods", "g/v2/things", "g/v1/olds"} {
		if !got[want] || len(got) != 3 {
			t.Errorf("no %s in %v", want, got)
		}
	}
	for apiVersion, want := range map[string]string{"g/v1": "v1", "g/v2": "v2", "g/v9": "v2"} {
		if r, ok := set.ForKind(apiVersion, "Thing"); !ok || r.GVR.Version != want || !r.Can("list", "delete") || r.Can("list", "watch") {
			t.Errorf("%s: %+v %v", apiVersion, r, ok)
		}
	}
	for apiVersion, kind := range map[string]string{"x/v1": "Thing", "g/v2": "Other", "a/b/c": "Thing"} {
		if r, ok := set.ForKind(apiVersion, kind); ok {
			t.Errorf("%s %s: %+v", apiVersion, kind, r)
		}
	}
}
