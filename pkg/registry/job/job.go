// Package job declares the Job kind: its defaults, the selector that is made
// for it, what a valid one is and how it is printed. It must not know how Jobs
// are run.
package job

import (
	"context"
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/pod"
	"github.com/carob-project/carob/pkg/registry/workload"
)

type rules = kind.Rules[*batchv1.Job]

// defaultBackoffLimit holds where the indexes have no limit of their own.
const defaultBackoffLimit = 6

// Kind declares Job.
func Kind() kind.Kind[*batchv1.Job] {
	return kind.Kind[*batchv1.Job]{
		GVK:                 batchv1.SchemeGroupVersion.WithKind("Job"),
		Resource:            "jobs",
		Singular:            "job",
		Categories:          []string{"all"},
		Namespaced:          true,
		UnconditionalUpdate: true,
		OrphanDependents:    true,
		New:                 func() *batchv1.Job { return &batchv1.Job{} },
		NewList:             func() runtime.Object { return &batchv1.JobList{} },
		Main:                mainRules(),
		Fields: func(j *batchv1.Job) fields.Set {
			return fields.Set{"status.successful": strconv.Itoa(int(j.Status.Succeeded))}
		},
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Status", "string", "Status of the job.", false),
			kind.Column("Completions", "string", batchv1.JobStatus{}.SwaggerDoc()["succeeded"], false),
			kind.Column("Duration", "string", "Time required to complete the job.", false),
			kind.AgeColumn(),
			workload.ContainersColumn(), workload.ImagesColumn(), workload.SelectorColumn(batchv1.JobSpec{}.SwaggerDoc()["selector"]),
		},
		Row: func(j *batchv1.Job) []any {
			names, images := workload.Containers(&j.Spec.Template)
			return []any{
				j.Name, state(j), completions(j), took(j), kind.Age(j.CreationTimestamp),
				names, images, metav1.FormatLabelSelector(j.Spec.Selector),
			}
		},
	}
}

// state is the one word that says most about a Job.
func state(j *batchv1.Job) string {
	switch {
	case has(j, batchv1.JobComplete):
		return "Complete"
	case has(j, batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	}
	for _, t := range []batchv1.JobConditionType{batchv1.JobSuspended, batchv1.JobFailureTarget, batchv1.JobSuccessCriteriaMet} {
		if has(j, t) {
			return string(t)
		}
	}
	return "Running"
}

func completions(j *batchv1.Job) string {
	if n := j.Spec.Completions; n != nil {
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *n)
	}
	if n := ptr.Deref(j.Spec.Parallelism, 0); n > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, n)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func took(j *batchv1.Job) string {
	switch start, end := j.Status.StartTime, j.Status.CompletionTime; {
	case start == nil:
		return ""
	case end == nil:
		return duration.HumanDuration(time.Since(start.Time))
	default:
		return duration.HumanDuration(end.Sub(start.Time))
	}
}

// AddToScheme registers defaults and selectable fields.
func AddToScheme(s *runtime.Scheme) error { return Kind().AddDefaultedToScheme(s, SetDefaults) }

// SetDefaults fills in what the API documents as defaults.
func SetDefaults(j *batchv1.Job) {
	SetTemplateDefaults(&j.Spec)
	s := &j.Spec
	if s.Parallelism == nil {
		if s.Completions == nil {
			s.Completions = ptr.To[int32](1)
		}
		s.Parallelism = ptr.To[int32](1)
	}
	if s.BackoffLimit == nil {
		s.BackoffLimit = ptr.To[int32](defaultBackoffLimit)
		if s.BackoffLimitPerIndex != nil {
			s.BackoffLimit = ptr.To[int32](math.MaxInt32)
		}
	}
	if len(j.Labels) == 0 && s.Template.Labels != nil {
		j.Labels = maps.Clone(s.Template.Labels)
	}
	if s.CompletionMode == nil {
		s.CompletionMode = ptr.To(batchv1.NonIndexedCompletion)
	}
	if s.Suspend == nil {
		s.Suspend = ptr.To(false)
	}
	if s.PodReplacementPolicy == nil {
		s.PodReplacementPolicy = ptr.To(batchv1.TerminatingOrFailed)
		if s.PodFailurePolicy != nil {
			s.PodReplacementPolicy = ptr.To(batchv1.Failed)
		}
	}
	if s.ManualSelector == nil {
		s.ManualSelector = ptr.To(false)
	}
}

// SetTemplateDefaults fills in those defaults that the spec of a Job has also
// where it is the template of a CronJob.
func SetTemplateDefaults(s *batchv1.JobSpec) {
	pod.SetTemplateDefaults(&s.Template.Spec)
	if s.PodFailurePolicy == nil {
		return
	}
	for _, r := range s.PodFailurePolicy.Rules {
		for i := range r.OnPodConditions {
			if r.OnPodConditions[i].Status == "" {
				r.OnPodConditions[i].Status = corev1.ConditionTrue
			}
		}
	}
}

// NewStorage serves the kind with its status.
func NewStorage(getter generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	s, err := kind.NewREST(Kind(), getter)
	if err != nil {
		return nil, err
	}
	return map[string]rest.Storage{"jobs": &jobs{s}, "jobs/status": s.Sub(statusRules())}, nil
}

// jobs warns who deletes a Job without saying what is to become of its pods:
// they stay, which surprises most.
type jobs struct{ *kind.REST[*batchv1.Job] }

const orphanWarning = "child pods are preserved by default when jobs are deleted; " +
	"set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"

func warn(ctx context.Context, o *metav1.DeleteOptions) {
	//nolint:staticcheck // clients still send the deprecated field
	if o == nil || o.PropagationPolicy == nil && o.OrphanDependents == nil {
		warning.AddWarning(ctx, "", orphanWarning)
	}
}

// Delete deletes one Job.
func (j *jobs) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, o *metav1.DeleteOptions) (runtime.Object, bool, error) {
	warn(ctx, o)
	return j.REST.Delete(ctx, name, validate, o)
}

// DeleteCollection deletes those that are listed.
func (j *jobs) DeleteCollection(ctx context.Context, validate rest.ValidateObjectFunc, o *metav1.DeleteOptions,
	list *metainternalversion.ListOptions,
) (runtime.Object, error) {
	warn(ctx, o)
	return j.REST.DeleteCollection(ctx, validate, o, list)
}
