package event

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

func good() *corev1.Event {
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a"}, InvolvedObject: corev1.ObjectReference{Namespace: "a"}, Type: "Normal",
		EventTime: metav1.NewMicroTime(time.Unix(1e9, 0)), Reason: "R", Action: "A", ReportingController: "x.example.com/y", ReportingInstance: "i",
	}
}

// told are the errors in short, sorted.
func told(errs field.ErrorList) []string {
	var out []string
	for _, e := range errs {
		out = append(out, fmt.Sprintf("%s: %s", e.Field, strings.TrimSuffix(string(e.Type)+": "+e.Detail, ": ")))
	}
	slices.Sort(out)
	return out
}

const (
	elsewhere = "involvedObject.namespace: FieldValueInvalid: does not match event.namespace"
	long      = ": FieldValueInvalid: can have at most 128 characters"
	missing   = ": FieldValueRequired"
)

func TestNewEvents(t *testing.T) {
	text := func(n int) string { return strings.Repeat("x", n) }
	// both are told in both groups, strict ones in events.k8s.io only.
	for name, x := range map[string]struct {
		change       func(*corev1.Event)
		both, strict []string
	}{
		"good":                 {func(*corev1.Event) {}, nil, nil},
		"another namespace":    {func(e *corev1.Event) { e.InvolvedObject.Namespace = "b" }, []string{elsewhere}, nil},
		"a node's, elsewhere":  {func(e *corev1.Event) { e.InvolvedObject.Namespace = "" }, []string{elsewhere}, nil},
		"a node's, in default": {func(e *corev1.Event) { e.InvolvedObject.Namespace, e.Namespace = "", "default" }, nil, nil},
		"a node's, in system":  {func(e *corev1.Event) { e.InvolvedObject.Namespace, e.Namespace = "", "kube-system" }, nil, nil},
		"no time":              {func(e *corev1.Event) { e.EventTime = metav1.MicroTime{} }, nil, []string{"eventTime" + missing}},
		"an old one": {
			func(e *corev1.Event) { *e = corev1.Event{ObjectMeta: e.ObjectMeta, InvolvedObject: e.InvolvedObject} }, nil,
			[]string{"action" + missing, "eventTime" + missing, "reason" + missing, "reportingController" + missing, "reportingInstance" + missing, "type: FieldValueInvalid: has invalid value"},
		},
		"no reporter": {
			func(e *corev1.Event) { e.ReportingController, e.ReportingInstance, e.Action, e.Reason = "", "", "", "" },
			[]string{"action" + missing, "reason" + missing, "reportingController" + missing, "reportingInstance" + missing}, nil,
		},
		"just short enough": {func(e *corev1.Event) {
			e.ReportingInstance, e.Action, e.Reason, e.Message = text(128), text(128), text(128), text(1024)
		}, nil, nil},
		"too long": {func(e *corev1.Event) {
			e.ReportingInstance, e.Action, e.Reason, e.Message = text(129), text(129), text(129), text(1025)
		}, []string{"action" + long, "reason" + long, "reportingInstance" + long}, []string{"note: FieldValueInvalid: can have at most 1024 characters"}},
		"type":          {func(e *corev1.Event) { e.Type = "Bad" }, nil, []string{"type: FieldValueInvalid: has invalid value"}},
		"warning":       {func(e *corev1.Event) { e.Type = "Warning" }, nil, nil},
		"a series":      {func(e *corev1.Event) { e.Series = &corev1.EventSeries{Count: 2, LastObservedTime: e.EventTime} }, nil, nil},
		"series of one": {func(e *corev1.Event) { e.Series = &corev1.EventSeries{Count: 1} }, nil, []string{"series.count: FieldValueInvalid: should be at least 2", "series.lastObservedTime" + missing}},
		"old fields": {func(e *corev1.Event) {
			e.Count, e.Source.Host, e.FirstTimestamp, e.LastTimestamp = 2, "h", metav1.Now(), metav1.Now()
		}, nil, []string{
			"deprecatedCount: FieldValueForbidden: needs to be unset", "deprecatedFirstTimestamp: FieldValueForbidden: needs to be unset",
			"deprecatedLastTimestamp: FieldValueForbidden: needs to be unset", "deprecatedSource: FieldValueForbidden: needs to be unset",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := good()
			x.change(e)
			if diff := cmp.Diff(x.both, told(ValidateCreate(e, corev1.SchemeGroupVersion))); diff != "" {
				t.Errorf("core (-want +got)\n%s", diff)
			}
			want := slices.Sorted(slices.Values(slices.Concat(x.both, x.strict)))
			if diff := cmp.Diff(want, told(ValidateCreate(e, eventsv1.SchemeGroupVersion))); diff != "" {
				t.Errorf("events.k8s.io (-want +got)\n%s", diff)
			}
		})
	}
	e := good()
	e.ReportingController = "a b"
	for _, gv := range []func() field.ErrorList{
		func() field.ErrorList { return ValidateCreate(e, corev1.SchemeGroupVersion) },
		func() field.ErrorList { return ValidateCreate(e, eventsv1.SchemeGroupVersion) },
	} {
		if errs := gv(); len(errs) != 1 || errs[0].Field != "reportingController" || errs[0].BadValue != "a b" {
			t.Errorf("a controller that is no name: %v", errs)
		}
	}
}

func TestChangedEvents(t *testing.T) {
	const fixed = ": FieldValueInvalid: field is immutable"
	for name, x := range map[string]struct {
		change       func(*corev1.Event)
		both, strict []string
	}{
		"nothing":           {func(*corev1.Event) {}, nil, nil},
		"labels":            {func(e *corev1.Event) { e.Labels = map[string]string{"a": "b"} }, nil, nil},
		"a series":          {func(e *corev1.Event) { e.Series = &corev1.EventSeries{Count: 2, LastObservedTime: e.EventTime} }, nil, nil},
		"series of none":    {func(e *corev1.Event) { e.Series = &corev1.EventSeries{} }, nil, []string{"series.count: FieldValueInvalid: should be at least 2", "series.lastObservedTime" + missing}},
		"another namespace": {func(e *corev1.Event) { e.InvolvedObject.Namespace = "b" }, []string{elsewhere}, []string{"regarding" + fixed}},
		"who":               {func(e *corev1.Event) { e.InvolvedObject.Name = "x" }, nil, []string{"regarding" + fixed}},
		"what": {
			func(e *corev1.Event) { e.Reason, e.Message, e.Type, e.Action = "x", "x", "Warning", "x" }, nil,
			[]string{"action" + fixed, "note" + fixed, "reason" + fixed, "type" + fixed},
		},
		"when":    {func(e *corev1.Event) { e.EventTime = metav1.NowMicro() }, nil, []string{"eventTime" + fixed}},
		"related": {func(e *corev1.Event) { e.Related = &corev1.ObjectReference{} }, nil, []string{"related" + fixed}},
		"whose": {
			func(e *corev1.Event) { e.ReportingController, e.ReportingInstance = "x", "x" }, nil,
			[]string{"reportingController" + fixed, "reportingInstance" + fixed},
		},
		"old fields": {
			func(e *corev1.Event) {
				e.Count, e.Source.Host, e.FirstTimestamp, e.LastTimestamp = 2, "h", metav1.Now(), metav1.Now()
			}, nil,
			[]string{"deprecatedCount" + fixed, "deprecatedFirstTimestamp" + fixed, "deprecatedLastTimestamp" + fixed, "deprecatedSource" + fixed},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := good()
			x.change(e)
			if diff := cmp.Diff(x.both, told(ValidateUpdate(e, good(), corev1.SchemeGroupVersion))); diff != "" {
				t.Errorf("core (-want +got)\n%s", diff)
			}
			want := slices.Sorted(slices.Values(slices.Concat(x.both, x.strict)))
			if diff := cmp.Diff(want, told(ValidateUpdate(e, good(), eventsv1.SchemeGroupVersion))); diff != "" {
				t.Errorf("events.k8s.io (-want +got)\n%s", diff)
			}
		})
	}
}

// The group through which a request comes decides which rules hold.
func TestTheGroupOfTheRequestCounts(t *testing.T) {
	e := good()
	e.Type = "Bad"
	through := func(group string) context.Context {
		return genericapirequest.WithRequestInfo(t.Context(), &genericapirequest.RequestInfo{APIGroup: group, APIVersion: "v1"})
	}
	for _, x := range []struct {
		ctx  context.Context
		want int
	}{{t.Context(), 0}, {through(""), 0}, {through(eventsv1.GroupName), 1}} {
		if errs := validate(x.ctx, e); len(errs) != x.want {
			t.Errorf("new: %v", errs)
		}
		if errs := validateUpdate(x.ctx, e, good()); len(errs) != x.want {
			t.Errorf("changed: %v", errs)
		}
	}
}
