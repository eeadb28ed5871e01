// Package cronjob declares the CronJob kind: its defaults, what a valid one is
// and how it is printed. It must not know how CronJobs are run.
package cronjob

import (
	"context"
	"errors"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/cron"
	"github.com/carob-project/carob/pkg/registry/job"
	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/workload"
)

type rules = kind.Rules[*batchv1.CronJob]

// longestName leaves room for the suffix that Jobs get.
const longestName = 52

// How many Jobs are kept by default.
const (
	keepSuccessful = 3
	keepFailed     = 1
)

// Kind declares CronJob.
func Kind() kind.Kind[*batchv1.CronJob] {
	spec, status := batchv1.CronJobSpec{}.SwaggerDoc(), batchv1.CronJobStatus{}.SwaggerDoc()
	return kind.Kind[*batchv1.CronJob]{
		GVK:                 batchv1.SchemeGroupVersion.WithKind("CronJob"),
		Resource:            "cronjobs",
		Singular:            "cronjob",
		ShortNames:          []string{"cj"},
		Categories:          []string{"all"},
		Namespaced:          true,
		UnconditionalUpdate: true,
		New:                 func() *batchv1.CronJob { return &batchv1.CronJob{} },
		NewList:             func() runtime.Object { return &batchv1.CronJobList{} },
		Main:                mainRules(),
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Schedule", "string", spec["schedule"], false),
			kind.Column("Timezone", "string", spec["timeZone"], false),
			kind.Column("Suspend", "boolean", spec["suspend"], false),
			kind.Column("Active", "integer", status["active"], false),
			kind.Column("Last Schedule", "string", status["lastScheduleTime"], false),
			kind.AgeColumn(),
			workload.ContainersColumn(), workload.ImagesColumn(), workload.SelectorColumn(batchv1.JobSpec{}.SwaggerDoc()["selector"]),
		},
		Row: row,
	}
}

func row(c *batchv1.CronJob) []any {
	last := "<none>"
	if t := c.Status.LastScheduleTime; t != nil {
		last = kind.Age(*t)
	}
	suspend := "<unset>"
	if s := c.Spec.Suspend; s != nil {
		suspend = map[bool]string{true: "True", false: "False"}[*s]
	}
	names, images := workload.Containers(&c.Spec.JobTemplate.Spec.Template)
	return []any{
		c.Name, c.Spec.Schedule, kind.OrNone(ptr.Deref(c.Spec.TimeZone, "")), suspend, int64(len(c.Status.Active)), last,
		kind.Age(c.CreationTimestamp), names, images, metav1.FormatLabelSelector(c.Spec.JobTemplate.Spec.Selector),
	}
}

// AddToScheme registers defaults and selectable fields.
func AddToScheme(s *runtime.Scheme) error { return Kind().AddDefaultedToScheme(s, SetDefaults) }

// SetDefaults fills in what the API documents as defaults.
func SetDefaults(c *batchv1.CronJob) {
	s := &c.Spec
	job.SetTemplateDefaults(&s.JobTemplate.Spec)
	if s.ConcurrencyPolicy == "" {
		s.ConcurrencyPolicy = batchv1.AllowConcurrent
	}
	if s.Suspend == nil {
		s.Suspend = ptr.To(false)
	}
	if s.SuccessfulJobsHistoryLimit == nil {
		s.SuccessfulJobsHistoryLimit = ptr.To[int32](keepSuccessful)
	}
	if s.FailedJobsHistoryLimit == nil {
		s.FailedJobsHistoryLimit = ptr.To[int32](keepFailed)
	}
}

// NewStorage serves the kind with its status.
func NewStorage(getter generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	s, err := kind.NewREST(Kind(), getter)
	if err != nil {
		return nil, err
	}
	return map[string]rest.Storage{"cronjobs": s, "cronjobs/status": s.Sub(statusRules())}, nil
}

func statusRules() rules {
	return rules{
		Reset:         []string{"spec"},
		PrepareUpdate: func(c, old *batchv1.CronJob) { c.Spec = old.Spec },
	}
}

func mainRules() rules {
	return rules{
		Reset: []string{"status"},
		Prepare: func(c *batchv1.CronJob) {
			c.Status, c.Generation = batchv1.CronJobStatus{}, 1
			workload.PrepareTemplate(&c.Spec.JobTemplate.Spec.Template.Spec)
		},
		PrepareUpdate: func(c, old *batchv1.CronJob) {
			c.Status = old.Status
			workload.PrepareTemplate(&c.Spec.JobTemplate.Spec.Template.Spec)
			if workload.Changed(c.Spec, old.Spec) {
				c.Generation = old.Generation + 1
			}
		},
		Validate: func(_ context.Context, c *batchv1.CronJob) field.ErrorList {
			errs := Validate(c)
			if len(c.Name) > longestName {
				errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), c.Name, fmt.Sprintf("must be no more than %d characters", longestName)))
			}
			return errs
		},
		ValidateUpdate: func(_ context.Context, c, old *batchv1.CronJob) field.ErrorList {
			if !workload.Changed(c.Spec, old.Spec) {
				return nil
			}
			return Validate(c)
		},
		Warnings: func(c *batchv1.CronJob) []string {
			return append(workload.NameWarnings(c.Name), job.SpecWarnings(&c.Spec.JobTemplate.Spec, field.NewPath("spec", "jobTemplate", "spec"))...)
		},
	}
}

// Validate checks the spec.
func Validate(c *batchv1.CronJob) field.ErrorList {
	s, at := &c.Spec, field.NewPath("spec")
	errs := validateSchedule(s, at)
	if n := s.StartingDeadlineSeconds; n != nil {
		errs = append(errs, workload.NonNegative(*n, at.Child("startingDeadlineSeconds"))...)
	}
	errs = append(errs, validateConcurrency(s.ConcurrencyPolicy, at.Child("concurrencyPolicy"))...)
	spec := at.Child("jobTemplate", "spec")
	errs = append(errs, job.ValidateSpec(&s.JobTemplate.Spec, spec)...)
	if selector := s.JobTemplate.Spec.Selector; selector != nil {
		errs = append(errs, field.Invalid(spec.Child("selector"), selector, "`selector` will be auto-generated"))
	}
	if m := s.JobTemplate.Spec.ManualSelector; ptr.Deref(m, false) {
		errs = append(errs, field.NotSupported(spec.Child("manualSelector"), m, []string{"nil", "false"}))
	}
	errs = append(errs, workload.NonNegative(int64(ptr.Deref(s.SuccessfulJobsHistoryLimit, 0)), at.Child("successfulJobsHistoryLimit"))...)
	return append(errs, workload.NonNegative(int64(ptr.Deref(s.FailedJobsHistoryLimit, 0)), at.Child("failedJobsHistoryLimit"))...)
}

func validateSchedule(s *batchv1.CronJobSpec, at *field.Path) field.ErrorList {
	in, err := cron.Zone(s.TimeZone)
	var zone field.ErrorList
	for _, fault := range []error{cron.ErrNoZone, cron.ErrLocalZone} {
		if errors.Is(err, fault) {
			zone = append(zone, field.Invalid(at.Child("timeZone"), s.TimeZone, fault.Error()))
		}
	}
	if errors.Is(err, cron.ErrZone) {
		zone = append(zone, field.Invalid(at.Child("timeZone"), s.TimeZone, cron.ErrZone.Error()+" "+*s.TimeZone))
	}
	if s.Schedule == "" {
		return append(field.ErrorList{field.Required(at.Child("schedule"), "")}, zone...)
	}
	var errs field.ErrorList
	if _, err := cron.Parse(s.Schedule, in); err != nil {
		errs = append(errs, field.Invalid(at.Child("schedule"), s.Schedule, err.Error()))
	}
	if strings.Contains(s.Schedule, "TZ") {
		errs = append(errs, field.Invalid(at.Child("schedule"), s.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
	}
	return append(errs, zone...)
}

func validateConcurrency(p batchv1.ConcurrencyPolicy, at *field.Path) field.ErrorList {
	switch p {
	case batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent:
		return nil
	case "":
		return field.ErrorList{field.Required(at, "")}
	}
	return field.ErrorList{field.NotSupported(at, p, []batchv1.ConcurrencyPolicy{
		batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent,
	})}
}
