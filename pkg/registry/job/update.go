package job

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/workload"
)

func validateUpdate(j, old *batchv1.Job) field.ErrorList {
	s, was, at := &j.Spec, &old.Spec, field.NewPath("spec")
	errs := ValidateSpec(s, at)
	errs = append(errs, validateSelector(s, at)...)
	errs = append(errs, validateCompletions(s, was, at)...)
	errs = append(errs, workload.Immutable(s.Selector, was.Selector, at.Child("selector"))...)
	errs = append(errs, validateTemplateUpdate(s, old, at)...)
	errs = append(errs, workload.Immutable(s.CompletionMode, was.CompletionMode, at.Child("completionMode"))...)
	errs = append(errs, unchanged(s.PodFailurePolicy, was.PodFailurePolicy, at.Child("podFailurePolicy"))...)
	errs = append(errs, workload.Immutable(s.BackoffLimitPerIndex, was.BackoffLimitPerIndex, at.Child("backoffLimitPerIndex"))...)
	errs = append(errs, workload.Immutable(s.ManagedBy, was.ManagedBy, at.Child("managedBy"))...)
	errs = append(errs, unchanged(s.SuccessPolicy, was.SuccessPolicy, at.Child("successPolicy"))...)
	return append(errs, validateHostnames(j)...)
}

// validateCompletions: only an indexed Job can be scaled, as a whole.
func validateCompletions(s, old *batchv1.JobSpec, at *field.Path) field.ErrorList {
	if !indexed(s) {
		return workload.Immutable(s.Completions, old.Completions, at.Child("completions"))
	}
	if s.Completions == nil || !workload.Changed(s.Completions, old.Completions) || ptr.Equal(s.Completions, s.Parallelism) {
		return nil
	}
	return field.ErrorList{field.Invalid(at.Child("completions"), s.Completions, "can only be modified in tandem with "+at.Child("parallelism").String())}
}

// validateTemplateUpdate: while a Job is suspended and none of its pods is
// left, where its pods run and what they may use can still be changed.
func validateTemplateUpdate(s *batchv1.JobSpec, old *batchv1.Job, at *field.Path) field.ErrorList {
	suspended := ptr.Deref(old.Spec.Suspend, false)
	open := suspended && old.Status.Active == 0 && (old.Status.StartTime == nil || has(old, batchv1.JobSuspended))
	if !open {
		return unchangedTemplate(&s.Template, &old.Spec.Template, at.Child("template"))
	}
	allowed := old.Spec.Template.DeepCopy()
	allowed.Labels, allowed.Annotations = s.Template.Labels, s.Template.Annotations
	to, from := &allowed.Spec, &s.Template.Spec
	to.NodeSelector, to.Tolerations, to.SchedulingGates = from.NodeSelector, from.Tolerations, from.SchedulingGates
	to.Affinity = withNodeAffinity(to.Affinity, from.Affinity)
	takeResources(to.Containers, from.Containers)
	takeResources(to.InitContainers, from.InitContainers)
	return unchanged(*from, *to, at.Child("template.spec"))
}

// printed is a template as Kubernetes prints one.
type printed struct {
	metav1.ObjectMeta

	Spec kind.GoNames
}

func unchangedTemplate(now, old *corev1.PodTemplateSpec, at *field.Path) field.ErrorList {
	if !workload.Changed(now, old) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, printed{now.ObjectMeta, kind.GoNames{Value: now.Spec}}, "field is immutable")}
}

// unchanged is workload.Immutable for structs, which Kubernetes prints with the
// names of Go.
func unchanged(now, old any, at *field.Path) field.ErrorList {
	if !workload.Changed(now, old) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, kind.GoNames{Value: now}, "field is immutable")}
}

// withNodeAffinity returns a with the node affinity of b.
func withNodeAffinity(a, b *corev1.Affinity) *corev1.Affinity {
	out := corev1.Affinity{}
	if a != nil {
		out = *a
	}
	out.NodeAffinity = nil
	if b != nil {
		out.NodeAffinity = b.NodeAffinity
	} else if out == (corev1.Affinity{}) {
		return nil
	}
	return &out
}

// takeResources gives the containers of a what those of b, where they are the
// same, may use.
func takeResources(a, b []corev1.Container) {
	if len(a) != len(b) {
		return
	}
	for i := range a {
		if a[i].Name == b[i].Name {
			a[i].Resources = b[i].Resources
		}
	}
}
