// Package deployment declares the Deployment kind: its defaults, what a valid
// one is, its scale and how it is printed.
package deployment

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/pod"
	"github.com/carob-project/carob/pkg/registry/workload"
)

type rules = kind.Rules[*appsv1.Deployment]

// Kind declares Deployment.
func Kind() kind.Kind[*appsv1.Deployment] {
	status := appsv1.DeploymentStatus{}.SwaggerDoc()
	return kind.Kind[*appsv1.Deployment]{
		GVK:                 appsv1.SchemeGroupVersion.WithKind("Deployment"),
		Resource:            "deployments",
		Singular:            "deployment",
		ShortNames:          []string{"deploy"},
		Categories:          []string{"all"},
		Namespaced:          true,
		UnconditionalUpdate: true,
		New:                 func() *appsv1.Deployment { return &appsv1.Deployment{} },
		NewList:             func() runtime.Object { return &appsv1.DeploymentList{} },
		Main:                mainRules(),
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Ready", "string", "Number of the pod with ready state", false),
			kind.Column("Up-to-date", "string", status["updatedReplicas"], false),
			kind.Column("Available", "string", status["availableReplicas"], false),
			kind.AgeColumn(),
			workload.ContainersColumn(), workload.ImagesColumn(),
			workload.SelectorColumn(appsv1.DeploymentSpec{}.SwaggerDoc()["selector"]),
		},
		Row: row,
	}
}

func row(d *appsv1.Deployment) []any {
	names, images := workload.Containers(&d.Spec.Template)
	text := "<invalid>"
	if selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector); err == nil {
		text = selector.String()
	}
	return []any{
		d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, ptr.Deref(d.Spec.Replicas, 0)), int64(d.Status.UpdatedReplicas),
		int64(d.Status.AvailableReplicas), kind.Age(d.CreationTimestamp), names, images, text,
	}
}

// AddToScheme registers defaults and selectable fields.
func AddToScheme(s *runtime.Scheme) error { return Kind().AddDefaultedToScheme(s, SetDefaults) }

// SetDefaults fills in what the API documents as defaults.
func SetDefaults(d *appsv1.Deployment) {
	s := &d.Spec
	pod.SetTemplateDefaults(&s.Template.Spec)
	if s.Replicas == nil {
		s.Replicas = ptr.To[int32](1)
	}
	if s.Strategy.Type == "" {
		s.Strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if s.Strategy.RollingUpdate == nil {
			s.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		for _, share := range []**intstr.IntOrString{&s.Strategy.RollingUpdate.MaxUnavailable, &s.Strategy.RollingUpdate.MaxSurge} {
			if *share == nil {
				*share = ptr.To(intstr.FromString("25%"))
			}
		}
	}
	if s.RevisionHistoryLimit == nil {
		s.RevisionHistoryLimit = ptr.To[int32](10)
	}
	if s.ProgressDeadlineSeconds == nil {
		s.ProgressDeadlineSeconds = ptr.To[int32](600)
	}
}

// NewStorage serves the kind with its status and scale.
func NewStorage(getter generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	s, err := kind.NewREST(Kind(), getter)
	if err != nil {
		return nil, err
	}
	return map[string]rest.Storage{
		"deployments":        s,
		"deployments/status": s.Sub(statusRules()),
		"deployments/scale": s.Scale(kind.Scaling[*appsv1.Deployment]{
			Replicas: func(d *appsv1.Deployment) **int32 { return &d.Spec.Replicas },
			Status: func(d *appsv1.Deployment) (int32, string) {
				return workload.Scaled(d.Status.Replicas, d.Spec.Selector)
			},
		}),
	}, nil
}
