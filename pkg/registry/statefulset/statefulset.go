// Package statefulset declares the StatefulSet kind: its defaults, what a valid
// one is, its scale and how it is printed.
package statefulset

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/persistentvolumeclaim"
	"github.com/carob-project/carob/pkg/registry/pod"
	"github.com/carob-project/carob/pkg/registry/workload"
)

type rules = kind.Rules[*appsv1.StatefulSet]

// Kind declares StatefulSet.
func Kind() kind.Kind[*appsv1.StatefulSet] {
	return kind.Kind[*appsv1.StatefulSet]{
		GVK:                 appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
		Resource:            "statefulsets",
		Singular:            "statefulset",
		ShortNames:          []string{"sts"},
		Categories:          []string{"all"},
		Namespaced:          true,
		UnconditionalUpdate: true,
		ValidName:           validation.NameIsDNSLabel,
		New:                 func() *appsv1.StatefulSet { return &appsv1.StatefulSet{} },
		NewList:             func() runtime.Object { return &appsv1.StatefulSetList{} },
		Main:                mainRules(),
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Ready", "string", "Number of the pod with ready state", false),
			kind.AgeColumn(), workload.ContainersColumn(), workload.ImagesColumn(),
		},
		Row: func(s *appsv1.StatefulSet) []any {
			names, images := workload.Containers(&s.Spec.Template)
			return []any{
				s.Name, fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, ptr.Deref(s.Spec.Replicas, 0)),
				kind.Age(s.CreationTimestamp), names, images,
			}
		},
	}
}

// AddToScheme registers defaults and selectable fields.
func AddToScheme(s *runtime.Scheme) error { return Kind().AddDefaultedToScheme(s, SetDefaults) }

// SetDefaults fills in what the API documents as defaults.
func SetDefaults(o *appsv1.StatefulSet) {
	s := &o.Spec
	pod.SetTemplateDefaults(&s.Template.Spec)
	if s.PodManagementPolicy == "" {
		s.PodManagementPolicy = appsv1.OrderedReadyPodManagement
	}
	u := &s.UpdateStrategy
	if u.Type == "" {
		u.Type = appsv1.RollingUpdateStatefulSetStrategyType
		if u.RollingUpdate == nil {
			u.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{}
		}
	}
	if r := u.RollingUpdate; u.Type == appsv1.RollingUpdateStatefulSetStrategyType && r != nil {
		if r.Partition == nil {
			r.Partition = ptr.To[int32](0)
		}
		if r.MaxUnavailable == nil {
			r.MaxUnavailable = ptr.To(intstr.FromInt32(1))
		}
	}
	if s.PersistentVolumeClaimRetentionPolicy == nil {
		s.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{}
	}
	for _, p := range []*appsv1.PersistentVolumeClaimRetentionPolicyType{
		&s.PersistentVolumeClaimRetentionPolicy.WhenDeleted, &s.PersistentVolumeClaimRetentionPolicy.WhenScaled,
	} {
		if *p == "" {
			*p = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
		}
	}
	for i := range s.VolumeClaimTemplates {
		c := &s.VolumeClaimTemplates[i]
		// Kubernetes shows them as claims of their own.
		c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
		persistentvolumeclaim.SetDefaults(c)
	}
	if s.Replicas == nil {
		s.Replicas = ptr.To[int32](1)
	}
	if s.RevisionHistoryLimit == nil {
		s.RevisionHistoryLimit = ptr.To[int32](10)
	}
}

// NewStorage serves the kind with its status and scale.
func NewStorage(getter generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	s, err := kind.NewREST(Kind(), getter)
	if err != nil {
		return nil, err
	}
	return map[string]rest.Storage{
		"statefulsets":        s,
		"statefulsets/status": s.Sub(statusRules()),
		"statefulsets/scale": s.Scale(kind.Scaling[*appsv1.StatefulSet]{
			Replicas: func(o *appsv1.StatefulSet) **int32 { return &o.Spec.Replicas },
			Status: func(o *appsv1.StatefulSet) (int32, string) {
				return workload.Scaled(o.Status.Replicas, o.Spec.Selector)
			},
		}),
	}, nil
}
