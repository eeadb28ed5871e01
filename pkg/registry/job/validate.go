package job

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/fields"
	"github.com/carob-project/carob/pkg/registry/pod"
	"github.com/carob-project/carob/pkg/registry/workload"
)

const (
	// mostIndexes bounds what is kept about single indexes in the status.
	mostIndexes = 100_000
	// manyIndexes bounds parallelism and failures of Jobs with more
	// completions than mostIndexes.
	manyIndexes    = 10_000
	longestManager = 63
)

func mainRules() rules {
	return rules{
		Reset: []string{"status"},
		Prepare: func(j *batchv1.Job) {
			generateSelector(j)
			j.Status, j.Generation = batchv1.JobStatus{}, 1
			workload.PrepareTemplate(&j.Spec.Template.Spec)
		},
		PrepareUpdate: func(j, old *batchv1.Job) {
			j.Status = old.Status
			workload.PrepareTemplate(&j.Spec.Template.Spec)
			if workload.Changed(j.Spec, old.Spec) {
				j.Generation = old.Generation + 1
			}
		},
		Validate: func(_ context.Context, j *batchv1.Job) field.ErrorList { return Validate(j) },
		ValidateUpdate: func(_ context.Context, j, old *batchv1.Job) field.ErrorList {
			if !workload.Changed(j.Spec, old.Spec) {
				return nil
			}
			return validateUpdate(j, old)
		},
		Warnings: func(j *batchv1.Job) []string {
			return append(workload.NameWarnings(j.Name), SpecWarnings(&j.Spec, field.NewPath("spec"))...)
		},
	}
}

// SpecWarnings are about the spec of a Job, or of the template of Jobs.
func SpecWarnings(s *batchv1.JobSpec, at *field.Path) []string {
	var out []string
	if indexed(s) && ptr.Deref(s.Completions, 0) > mostIndexes && ptr.Deref(s.Parallelism, 0) > manyIndexes {
		out = append(out, fmt.Sprintf("%s: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher "+
			"than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail", at))
	}
	return append(out, pod.TemplateWarnings(&s.Template, at.Child("template"))...)
}

func indexed(s *batchv1.JobSpec) bool {
	return ptr.Deref(s.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

// Validate checks a new Job.
func Validate(j *batchv1.Job) field.ErrorList {
	at := field.NewPath("spec")
	errs := validateGenerated(j)
	errs = append(errs, ValidateSpec(&j.Spec, at)...)
	errs = append(errs, validateSelector(&j.Spec, at)...)
	return append(errs, validateHostnames(j)...)
}

// validateHostnames: pods of an indexed Job are called by Job and index.
func validateHostnames(j *batchv1.Job) field.ErrorList {
	n := ptr.Deref(j.Spec.Completions, 0)
	if !indexed(&j.Spec) || n <= 0 {
		return nil
	}
	longest := fmt.Sprintf("%s-%d", j.Name, n-1)
	if len(validation.IsDNS1123Label(longest)) == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), j.Name, "will not able to create pod with invalid DNS label: "+longest)}
}

// ValidateSpec checks all of a spec but its selector, which the template of a
// CronJob does not have.
func ValidateSpec(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	errs := validateNumbers(s, at)
	if m := s.ManagedBy; m != nil {
		errs = append(errs, validation.IsDomainPrefixedPath(at.Child("managedBy"), *m)...)
		if len(*m) > longestManager {
			errs = append(errs, field.TooLong(at.Child("managedBy"), "", longestManager))
		}
	}
	errs = append(errs, validateMode(s, at)...)
	if s.PodFailurePolicy != nil {
		errs = append(errs, validateFailurePolicy(s, at.Child("podFailurePolicy", "rules"))...)
	}
	errs = append(errs, validateSuccessPolicy(s, at.Child("successPolicy"))...)
	errs = append(errs, validateReplacement(s, at.Child("podReplacementPolicy"))...)
	if s.Scheduling != nil {
		errs = append(errs, field.Forbidden(at.Child("scheduling"), fields.NotYet+"pods are scheduled one by one; leave it out"))
	}
	errs = append(errs, pod.ValidateTemplate(&s.Template, at.Child("template"))...)
	return append(errs, validateRestarts(s, at.Child("template", "spec", "restartPolicy"))...)
}

func validateNumbers(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	check := func(name string, n *int32) {
		if n != nil {
			errs = append(errs, workload.NonNegative(int64(*n), at.Child(name))...)
		}
	}
	check("parallelism", s.Parallelism)
	check("completions", s.Completions)
	if n := s.ActiveDeadlineSeconds; n != nil {
		errs = append(errs, workload.NonNegative(*n, at.Child("activeDeadlineSeconds"))...)
	}
	check("backoffLimit", s.BackoffLimit)
	check("ttlSecondsAfterFinished", s.TTLSecondsAfterFinished)
	check("backoffLimitPerIndex", s.BackoffLimitPerIndex)
	check("maxFailedIndexes", s.MaxFailedIndexes)
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Required(at.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
	}
	return errs
}

func validateMode(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	mode := ptr.Deref(s.CompletionMode, batchv1.NonIndexedCompletion)
	switch mode {
	case batchv1.IndexedCompletion:
		return validateIndexed(s, at)
	case batchv1.NonIndexedCompletion:
		const needs = "requires indexed completion mode"
		var errs field.ErrorList
		if n := s.BackoffLimitPerIndex; n != nil {
			errs = append(errs, field.Invalid(at.Child("backoffLimitPerIndex"), *n, needs))
		}
		if n := s.MaxFailedIndexes; n != nil {
			errs = append(errs, field.Invalid(at.Child("maxFailedIndexes"), *n, needs))
		}
		return errs
	default:
		return field.ErrorList{field.NotSupported(at.Child("completionMode"), mode,
			[]batchv1.CompletionMode{batchv1.NonIndexedCompletion, batchv1.IndexedCompletion})}
	}
}

func validateIndexed(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	tooMuch := func(name string, n int32, text string, a ...any) {
		errs = append(errs, field.Invalid(at.Child(name), n, "must be less than or equal to "+fmt.Sprintf(text, a...)))
	}
	parallelism, failed := ptr.Deref(s.Parallelism, 0), ptr.Deref(s.MaxFailedIndexes, 0)
	if s.Completions == nil {
		errs = append(errs, field.Required(at.Child("completions"), "when completion mode is Indexed"))
	}
	if parallelism > mostIndexes {
		tooMuch("parallelism", parallelism, "%d when completion mode is Indexed", mostIndexes)
	}
	if s.Completions != nil && failed > *s.Completions {
		tooMuch("maxFailedIndexes", failed, "completions")
	}
	if failed > mostIndexes {
		tooMuch("maxFailedIndexes", failed, "%d", mostIndexes)
	}
	if ptr.Deref(s.Completions, 0) <= mostIndexes || s.BackoffLimitPerIndex == nil {
		return errs
	}
	const many = "%d when completions are above %d and used with backoff limit per index"
	if s.MaxFailedIndexes == nil {
		errs = append(errs, field.Required(at.Child("maxFailedIndexes"), fmt.Sprintf("must be specified when completions is above %d", mostIndexes)))
	}
	if parallelism > manyIndexes {
		tooMuch("parallelism", parallelism, many, manyIndexes, mostIndexes)
	}
	if failed > manyIndexes {
		tooMuch("maxFailedIndexes", failed, many, manyIndexes, mostIndexes)
	}
	return errs
}

func validateReplacement(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	p := s.PodReplacementPolicy
	allowed := []batchv1.PodReplacementPolicy{batchv1.Failed, batchv1.TerminatingOrFailed}
	if s.PodFailurePolicy != nil {
		allowed = allowed[:1]
	}
	return oneOf(p, allowed, at)
}

func oneOf[T ~string](v *T, allowed []T, at *field.Path) field.ErrorList {
	if v == nil {
		return nil
	}
	for _, a := range allowed {
		if *v == a {
			return nil
		}
	}
	return field.ErrorList{field.NotSupported(at, *v, allowed)}
}

// validateRestarts: pods of a Job have to end.
func validateRestarts(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	switch policy := s.Template.Spec.RestartPolicy; {
	case policy == corev1.RestartPolicyAlways || policy == "":
		return field.ErrorList{field.Required(at, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))}
	case policy != corev1.RestartPolicyOnFailure && policy != corev1.RestartPolicyNever:
		return field.ErrorList{field.NotSupported(at, policy, []corev1.RestartPolicy{corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever})}
	case s.PodFailurePolicy != nil && policy != corev1.RestartPolicyNever:
		return field.ErrorList{field.Invalid(at, policy, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", corev1.RestartPolicyNever))}
	}
	return nil
}
