package serviceaccount

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// RootName is the ConfigMap that every namespace has, with the certificate of
// the authority behind the API under rootKey.
const (
	RootName = "kube-root-ca.crt"
	rootKey  = "ca.crt"
	// describedBy is the annotation in which Kubernetes says what it is for.
	describedBy = "kubernetes.io/description"
	description = "The authority behind the certificate of the API server, for programs that reach it from within pods."
)

// newRoots watches the ConfigMaps of that name and no others.
func newRoots(client kubernetes.Interface) cache.SharedIndexInformer {
	return coreinformers.NewFilteredConfigMapInformer(client, metav1.NamespaceAll, 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc},
		func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", RootName).String()
		})
}

func (c *Controller) rootHandler() cache.ResourceEventHandler {
	touched := func(obj any) {
		if m, ok := workload.Last[*corev1.ConfigMap](obj); ok && m.Name == RootName {
			c.queue.Add(m.Namespace)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: touched, DeleteFunc: touched, UpdateFunc: func(_, obj any) { touched(obj) },
	}
}

// root returns the namespace's ConfigMap, or nil. It is not to be changed.
func (c *Controller) root(namespace string) *corev1.ConfigMap {
	obj, found, err := c.roots.GetStore().GetByKey(namespace + "/" + RootName)
	if err != nil || !found {
		return nil
	}
	m, _ := obj.(*corev1.ConfigMap)
	return m
}

// RootDiff returns what the namespace's ConfigMap should be, or nil where have
// is right. have is nil where there is none.
func RootDiff(ns *corev1.Namespace, have *corev1.ConfigMap, certificate string) *corev1.ConfigMap {
	switch {
	case have == nil && Missing(ns, false):
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: ns.Name, Name: RootName, Annotations: map[string]string{describedBy: description},
			},
			Data: map[string]string{rootKey: certificate},
		}
	case have == nil || have.DeletionTimestamp != nil || !Missing(ns, false):
		return nil
	}
	want := map[string]string{rootKey: certificate}
	if maps.Equal(have.Data, want) && len(have.BinaryData) == 0 {
		return nil
	}
	m := have.DeepCopy()
	m.Data, m.BinaryData = want, nil
	return m
}

func (c *Controller) syncRoot(ctx context.Context, ns *corev1.Namespace) error {
	have := c.root(ns.Name)
	want := RootDiff(ns, have, c.rootCA)
	if want == nil {
		return nil
	}
	var err error
	if client := c.client.CoreV1().ConfigMaps(ns.Name); have == nil {
		_, err = client.Create(ctx, want, metav1.CreateOptions{})
	} else if _, err = client.Update(ctx, want, metav1.UpdateOptions{}); apierrors.IsConflict(err) {
		err = nil // the watch tells of the other change
	}
	if settled(err) {
		return nil
	}
	return fmt.Errorf("write configmap %s/%s: %w", ns.Name, RootName, err)
}
