package event

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/carob-project/carob/pkg/registry/kind"
)

// Limits of the events.k8s.io group, in bytes.
const (
	maxInstance = 128
	maxAction   = 128
	maxReason   = 128
	maxNote     = 1024
)

// requestVersion tells through which group a request came: the rules of
// events.k8s.io/v1 are strict, those of the core group are not.
func requestVersion(ctx context.Context) schema.GroupVersion {
	if info, ok := genericapirequest.RequestInfoFrom(ctx); ok {
		return schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
	}
	return corev1.SchemeGroupVersion
}

func validate(ctx context.Context, e *corev1.Event) field.ErrorList {
	return ValidateCreate(e, requestVersion(ctx))
}

func validateUpdate(ctx context.Context, e, old *corev1.Event) field.ErrorList {
	return ValidateUpdate(e, old, requestVersion(ctx))
}

// ValidateCreate checks a new event that came through the group gv.
func ValidateCreate(e *corev1.Event, gv schema.GroupVersion) field.ErrorList {
	errs := validateCommon(e)
	if gv != eventsv1.SchemeGroupVersion {
		if e.EventTime.IsZero() {
			return errs
		}
		return append(errs, validateReporter(e)...)
	}
	if e.EventTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	errs = append(errs, validateReporter(e)...)
	errs = append(errs, validateSeries(e)...)
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(field.NewPath("type"), e.Type, "has invalid value"))
	}
	if len(e.Message) > maxNote {
		errs = append(errs, field.Invalid(field.NewPath("note"), "", "can have at most 1024 characters"))
	}
	return append(errs, refuseDeprecated(e)...)
}

func refuseDeprecated(e *corev1.Event) field.ErrorList {
	var errs field.ErrorList
	for name, set := range map[string]bool{
		"deprecatedFirstTimestamp": !e.FirstTimestamp.IsZero(),
		"deprecatedLastTimestamp":  !e.LastTimestamp.IsZero(),
		"deprecatedCount":          e.Count != 0,
		"deprecatedSource":         e.Source != corev1.EventSource{},
	} {
		if set {
			errs = append(errs, field.Forbidden(field.NewPath(name), "needs to be unset"))
		}
	}
	return errs
}

// validateCommon holds for both groups: an event about a namespaced object
// lives beside it, one about any other object in default or kube-system.
func validateCommon(e *corev1.Event) field.ErrorList {
	at := field.NewPath("involvedObject", "namespace")
	switch about := e.InvolvedObject.Namespace; {
	case about == "":
		if e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
			return field.ErrorList{field.Invalid(at, about, "does not match event.namespace")}
		}
	case about != e.Namespace:
		return field.ErrorList{field.Invalid(at, about, "does not match event.namespace")}
	}
	return nil
}

func validateReporter(e *corev1.Event) field.ErrorList {
	var errs field.ErrorList
	text := func(name, value string, limit int) {
		at := field.NewPath(name)
		if value == "" {
			errs = append(errs, field.Required(at, ""))
		} else if len(value) > limit {
			errs = append(errs, field.Invalid(at, "", "can have at most 128 characters"))
		}
	}
	if e.ReportingController == "" {
		errs = append(errs, field.Required(field.NewPath("reportingController"), ""))
	} else {
		errs = append(errs, kind.ValidateQualifiedName(field.NewPath("reportingController"), e.ReportingController)...)
	}
	text("reportingInstance", e.ReportingInstance, maxInstance)
	text("action", e.Action, maxAction)
	text("reason", e.Reason, maxReason)
	return errs
}

func validateSeries(e *corev1.Event) field.ErrorList {
	if e.Series == nil {
		return nil
	}
	var errs field.ErrorList
	if e.Series.Count < 2 {
		errs = append(errs, field.Invalid(field.NewPath("series.count"), "", "should be at least 2"))
	}
	if e.Series.LastObservedTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("series.lastObservedTime"), ""))
	}
	return errs
}

// ValidateUpdate lets an event that came through events.k8s.io change in its
// series and metadata only.
func ValidateUpdate(e, old *corev1.Event, gv schema.GroupVersion) field.ErrorList {
	errs := validateCommon(e)
	if gv != eventsv1.SchemeGroupVersion {
		return errs
	}
	errs = append(errs, validateSeries(e)...)
	same := func(name string, now, before any) {
		if !equality.Semantic.DeepEqual(now, before) {
			errs = append(errs, field.Invalid(field.NewPath(name), now, "field is immutable"))
		}
	}
	same("regarding", e.InvolvedObject, old.InvolvedObject)
	same("reason", e.Reason, old.Reason)
	same("note", e.Message, old.Message)
	same("type", e.Type, old.Type)
	same("eventTime", e.EventTime, old.EventTime)
	same("action", e.Action, old.Action)
	same("related", e.Related, old.Related)
	same("reportingController", e.ReportingController, old.ReportingController)
	same("reportingInstance", e.ReportingInstance, old.ReportingInstance)
	same("deprecatedSource", e.Source, old.Source)
	same("deprecatedFirstTimestamp", e.FirstTimestamp, old.FirstTimestamp)
	same("deprecatedLastTimestamp", e.LastTimestamp, old.LastTimestamp)
	same("deprecatedCount", e.Count, old.Count)
	return errs
}
