// Package node declares the Node kind. Its spec belongs to the administrator,
// its status to the node's agent.
package node

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/carob-project/carob/pkg/registry/kind"
)

type rules = kind.Rules[*corev1.Node]

// Kind declares Node.
func Kind() kind.Kind[*corev1.Node] {
	return kind.Kind[*corev1.Node]{
		GVK:                 corev1.SchemeGroupVersion.WithKind("Node"),
		Resource:            "nodes",
		Singular:            "node",
		ShortNames:          []string{"no"},
		UnconditionalUpdate: true,
		New:                 func() *corev1.Node { return &corev1.Node{} },
		NewList:             func() runtime.Object { return &corev1.NodeList{} },
		Fields: func(n *corev1.Node) fields.Set {
			return fields.Set{"spec.unschedulable": fmt.Sprint(n.Spec.Unschedulable)}
		},
		Main: rules{
			Reset:         []string{"status"},
			PrepareUpdate: func(n, old *corev1.Node) { n.Status = old.Status },
			Validate: func(_ context.Context, n *corev1.Node) field.ErrorList {
				return append(validateSpec(&n.Spec), validateStatus(&n.Status)...)
			},
			ValidateUpdate: func(_ context.Context, n, old *corev1.Node) field.ErrorList {
				return append(validateSpec(&n.Spec), validateSpecUpdate(&n.Spec, &old.Spec)...)
			},
			Warnings: warnings,
		},
		Columns: columns(),
		Row:     row,
	}
}

func statusRules() rules {
	return rules{
		Reset:         []string{"spec"},
		PrepareUpdate: func(n, old *corev1.Node) { n.Spec = old.Spec },
		ValidateUpdate: func(_ context.Context, n, _ *corev1.Node) field.ErrorList {
			return validateStatus(&n.Status)
		},
	}
}

// NewStorage returns what is served, by resource name.
func NewStorage(getter generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	all, err := kind.NewREST(Kind(), getter)
	if err != nil {
		return nil, err
	}
	return map[string]rest.Storage{"nodes": all, "nodes/status": all.Sub(statusRules())}, nil
}

// AddToScheme registers the defaults and selectable fields of nodes.
func AddToScheme(s *runtime.Scheme) error { return Kind().AddDefaultedToScheme(s, SetDefaults) }

// SetDefaults makes all of a node's capacity allocatable where the agent keeps
// nothing back, and the first of several ranges of addresses the one.
func SetDefaults(n *corev1.Node) {
	switch s := &n.Spec; {
	case s.PodCIDR == "" && len(s.PodCIDRs) > 0:
		s.PodCIDR = s.PodCIDRs[0]
	case s.PodCIDR != "" && (len(s.PodCIDRs) == 0 || s.PodCIDRs[0] != s.PodCIDR):
		s.PodCIDRs = []string{s.PodCIDR}
	}
	if n.Status.Allocatable != nil || n.Status.Capacity == nil {
		return
	}
	n.Status.Allocatable = n.Status.Capacity.DeepCopy()
}
