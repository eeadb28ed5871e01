// Package node declares the Node kind. Its spec belongs to the administrator,
// its status to the node's agent.
package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	netutil "k8s.io/utils/net"

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
func AddToScheme(s *runtime.Scheme) error {
	s.AddTypeDefaultingFunc(&corev1.Node{}, func(obj any) { SetDefaults(obj.(*corev1.Node)) })
	s.AddTypeDefaultingFunc(&corev1.NodeList{}, func(obj any) {
		l := obj.(*corev1.NodeList)
		for i := range l.Items {
			SetDefaults(&l.Items[i])
		}
	})
	return Kind().AddFieldLabels(s)
}

// SetDefaults makes all of a node's capacity allocatable where the agent keeps
// nothing back.
func SetDefaults(n *corev1.Node) {
	if n.Status.Allocatable != nil || n.Status.Capacity == nil {
		return
	}
	n.Status.Allocatable = n.Status.Capacity.DeepCopy()
}

func validateSpec(s *corev1.NodeSpec) field.ErrorList {
	at := field.NewPath("spec")
	errs := validateTaints(s.Taints, at.Child("taints"))
	families := map[bool]bool{}
	for i, cidr := range s.PodCIDRs {
		errs = append(errs, validation.IsValidCIDR(at.Child("podCIDRs").Index(i), cidr)...)
		v6 := netutil.IsIPv6CIDRString(cidr)
		if families[v6] {
			errs = append(errs, field.Invalid(at.Child("podCIDRs"), s.PodCIDRs, "may specify no more than one CIDR for each IP family"))
		}
		families[v6] = true
	}
	if len(s.PodCIDRs) > 0 && s.PodCIDR != "" && s.PodCIDRs[0] != s.PodCIDR {
		errs = append(errs, field.Invalid(at.Child("podCIDR"), s.PodCIDR, "must match `podCIDRs[0]`"))
	}
	return errs
}

func validateTaints(taints []corev1.Taint, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	effects := []string{string(corev1.TaintEffectNoExecute), string(corev1.TaintEffectNoSchedule), string(corev1.TaintEffectPreferNoSchedule)}
	for i, t := range taints {
		item := at.Index(i)
		errs = append(errs, kind.ValidateQualifiedName(item.Child("key"), t.Key)...)
		for _, msg := range validation.IsValidLabelValue(t.Value) {
			errs = append(errs, field.Invalid(item.Child("value"), t.Value, msg))
		}
		switch {
		case t.Effect == "":
			errs = append(errs, field.Required(item.Child("effect"), ""))
		case !slices.Contains(effects, string(t.Effect)):
			errs = append(errs, field.NotSupported(item.Child("effect"), string(t.Effect), effects))
		}
		id := t.Key + ":" + string(t.Effect)
		if seen[id] {
			errs = append(errs, field.Duplicate(item, t))
		}
		seen[id] = true
	}
	return errs
}

// validateSpecUpdate keeps what names the machine, once it is set.
func validateSpecUpdate(s, old *corev1.NodeSpec) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec")
	if old.ProviderID != "" && s.ProviderID != old.ProviderID {
		errs = append(errs, field.Forbidden(at.Child("providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	if len(old.PodCIDRs) > 0 && !equality.Semantic.DeepEqual(s.PodCIDRs, old.PodCIDRs) {
		errs = append(errs, field.Forbidden(at.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	return errs
}

func validateStatus(s *corev1.NodeStatus) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("status")
	seen := map[corev1.NodeAddress]bool{}
	for i, a := range s.Addresses {
		if seen[a] {
			errs = append(errs, field.Duplicate(at.Child("addresses").Index(i), a))
		}
		seen[a] = true
	}
	for child, list := range map[string]corev1.ResourceList{"capacity": s.Capacity, "allocatable": s.Allocatable} {
		for name, q := range list {
			path := at.Child(child).Key(string(name))
			if q.Sign() < 0 {
				errs = append(errs, field.Invalid(path, q.String(), "must be greater than or equal to 0"))
			}
			if strings.Contains(string(name), "/") {
				errs = append(errs, kind.ValidateQualifiedName(path, string(name))...)
			}
		}
	}
	return errs
}
