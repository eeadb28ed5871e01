package pod

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/tools/cache"
)

const nodeNameField = "spec.nodeName"

// selectable returns the fields a client may select pods by.
func selectable(p *corev1.Pod) fields.Set {
	ip := p.Status.PodIP
	if ip == "" && len(p.Status.PodIPs) > 0 {
		ip = p.Status.PodIPs[0].IP
	}
	set := fields.Set{
		nodeNameField:              p.Spec.NodeName,
		"spec.restartPolicy":       string(p.Spec.RestartPolicy),
		"spec.schedulerName":       p.Spec.SchedulerName,
		"spec.serviceAccountName":  p.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(p.Spec.HostNetwork),
		"status.phase":             string(p.Status.Phase),
		"status.podIP":             ip,
		"status.nominatedNodeName": p.Status.NominatedNodeName,
	}
	return generic.AddObjectMetaFieldsSet(set, &p.ObjectMeta, true)
}

// convertFieldLabel says which field selectors are known.
func convertFieldLabel(label, value string) (string, string, error) {
	if _, ok := selectable(&corev1.Pod{})[label]; !ok {
		return "", "", fmt.Errorf("field label not supported: %s", label)
	}
	return label, value, nil
}

// attributes returns what selectors are matched against.
func attributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, nil, fmt.Errorf("want a Pod, got %T", obj)
	}
	return p.Labels, selectable(p), nil
}

// predicate selects pods; watches of one node's pods are served from an index.
func predicate(label labels.Selector, field fields.Selector) storage.SelectionPredicate {
	return storage.SelectionPredicate{
		Label: label, Field: field, GetAttrs: attributes,
		IndexFields: []string{nodeNameField},
	}
}

func triggers() storage.IndexerFuncs {
	return storage.IndexerFuncs{nodeNameField: func(obj runtime.Object) string {
		if p, ok := obj.(*corev1.Pod); ok {
			return p.Spec.NodeName
		}
		return ""
	}}
}

func indexers() *cache.Indexers {
	return &cache.Indexers{storage.FieldIndex(nodeNameField): func(obj any) ([]string, error) {
		p, ok := obj.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("want a Pod, got %T", obj)
		}
		return []string{p.Spec.NodeName}, nil
	}}
}
