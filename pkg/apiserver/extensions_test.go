package apiserver_test

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

func TestNoKindIsDefinedByUsers(t *testing.T) {
	i := start(t)
	crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	list, err := i.dynamic(t).Resource(crds).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 0 || list.GetKind() != "CustomResourceDefinitionList" {
		t.Errorf("list %+v, %v", list, err)
	}
	if _, err := i.dynamic(t).Resource(crds).Get(t.Context(), "x", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("get: %v", err)
	}
	groups, err := i.client.Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups.Groups {
		if g.Name == crds.Group {
			t.Error("discovery names the group")
		}
	}
	stranger, err := dynamic.NewForConfig(i.config(t, "stranger"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Resource(crds).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a stranger's list: %v", err)
	}
}
