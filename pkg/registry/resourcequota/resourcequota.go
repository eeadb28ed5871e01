// Package resourcequota declares the ResourceQuota kind. It must not know how
// use is measured.
package resourcequota

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/carob-project/carob/pkg/registry/kind"
)

// limitsPrefix begins the names of what bounds limits.
const limitsPrefix = "limits."

type rules = kind.Rules[*corev1.ResourceQuota]

// Kind declares ResourceQuota.
func Kind() kind.Kind[*corev1.ResourceQuota] {
	return kind.Kind[*corev1.ResourceQuota]{
		GVK:                 corev1.SchemeGroupVersion.WithKind("ResourceQuota"),
		Resource:            "resourcequotas",
		Singular:            "resourcequota",
		ShortNames:          []string{"quota"},
		Namespaced:          true,
		UnconditionalUpdate: true,
		New:                 func() *corev1.ResourceQuota { return &corev1.ResourceQuota{} },
		NewList:             func() runtime.Object { return &corev1.ResourceQuotaList{} },
		Main:                mainRules(),
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Request", "string", "Request represents a minimum amount of cpu/memory that a container may consume.", false),
			kind.Column("Limit", "string", "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.", false),
			kind.AgeColumn(),
		},
		Row: row,
	}
}

// AddToScheme registers defaults and selectable fields.
func AddToScheme(s *runtime.Scheme) error { return Kind().AddDefaultedToScheme(s, SetDefaults) }

// NewStorage serves the kind with its status.
func NewStorage(getter generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	s, err := kind.NewREST(Kind(), getter)
	if err != nil {
		return nil, err
	}
	return map[string]rest.Storage{"resourcequotas": s, "resourcequotas/status": s.Sub(statusRules())}, nil
}

// SetDefaults rounds amounts up to what is counted in.
func SetDefaults(q *corev1.ResourceQuota) {
	for _, list := range []corev1.ResourceList{q.Spec.Hard, q.Status.Hard, q.Status.Used} {
		for name, amount := range list {
			amount.RoundUp(-3)
			list[name] = amount
		}
	}
}

func mainRules() rules {
	return rules{
		Reset:          []string{"status"},
		Prepare:        func(q *corev1.ResourceQuota) { q.Status = corev1.ResourceQuotaStatus{} },
		PrepareUpdate:  func(q, old *corev1.ResourceQuota) { q.Status = old.Status },
		Validate:       func(_ context.Context, q *corev1.ResourceQuota) field.ErrorList { return Validate(q) },
		ValidateUpdate: func(_ context.Context, q, old *corev1.ResourceQuota) field.ErrorList { return validateUpdate(q, old) },
		Warnings:       warnings,
		WarnOnce:       true,
	}
}

func statusRules() rules {
	return rules{
		Reset:         []string{"spec"},
		PrepareUpdate: func(q, old *corev1.ResourceQuota) { q.Spec = old.Spec },
		ValidateUpdate: func(_ context.Context, q, _ *corev1.ResourceQuota) field.ErrorList {
			return validateStatus(&q.Status, field.NewPath("status"))
		},
	}
}

// row prints what is used of what there is: limits apart from the rest.
func row(q *corev1.ResourceQuota) []any {
	var requests, limits []string
	for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
		used, hard := q.Status.Used[name], q.Status.Hard[name]
		text := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
		if strings.HasPrefix(string(name), limitsPrefix) {
			limits = append(limits, text)
		} else {
			requests = append(requests, text)
		}
	}
	return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), kind.Age(q.CreationTimestamp)}
}

// warnings are about limits below the requests.
func warnings(q *corev1.ResourceQuota) []string {
	var out []string
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceStorage, corev1.ResourceEphemeralStorage} {
		asked := corev1.DefaultResourceRequestsPrefix + name
		request, requested := q.Spec.Hard[asked]
		if !requested && (name == corev1.ResourceCPU || name == corev1.ResourceMemory) {
			asked = name
			request, requested = q.Spec.Hard[asked]
		}
		most := limitsPrefix + name
		if limit, limited := q.Spec.Hard[most]; requested && limited && request.Cmp(limit) > 0 {
			out = append(out, fmt.Sprintf("ResourceQuota %s (%s) should be less than %s (%s)", asked, request.String(), most, limit.String()))
		}
	}
	return out
}
