// Package event declares the Event kind. It is stored once and served through
// two groups: the core one and events.k8s.io, whose fields have other names.
package event

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/carob-project/carob/pkg/registry/kind"
)

// ttlSeconds is how long an event is kept after its last change.
const ttlSeconds = 3600

// Kind declares Event, as the core group has it.
func Kind() kind.Kind[*corev1.Event] {
	return kind.Kind[*corev1.Event]{
		GVK:                 corev1.SchemeGroupVersion.WithKind("Event"),
		Resource:            "events",
		Singular:            "event",
		ShortNames:          []string{"ev"},
		Namespaced:          true,
		CreateOnUpdate:      true,
		UnconditionalUpdate: true,
		TTL:                 ttlSeconds,
		New:                 func() *corev1.Event { return &corev1.Event{} },
		NewList:             func() runtime.Object { return &corev1.EventList{} },
		Fields:              selectable,
		Main:                kind.Rules[*corev1.Event]{Validate: validate, ValidateUpdate: validateUpdate},
		Columns:             columns(),
		Row:                 row,
	}
}

func selectable(e *corev1.Event) fields.Set {
	o := e.InvolvedObject
	return fields.Set{
		"involvedObject.kind":            o.Kind,
		"involvedObject.namespace":       o.Namespace,
		"involvedObject.name":            o.Name,
		"involvedObject.uid":             string(o.UID),
		"involvedObject.apiVersion":      o.APIVersion,
		"involvedObject.resourceVersion": o.ResourceVersion,
		"involvedObject.fieldPath":       o.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         component(e),
		"type":                           e.Type,
	}
}

// component names who reports, in events of either group's making.
func component(e *corev1.Event) string {
	if e.Source.Component != "" {
		return e.Source.Component
	}
	return e.ReportingController
}

// AddToScheme makes the events.k8s.io group an other form of core events:
// internal version, conversions and selectable fields. The scheme has to know
// both groups' version 1 already.
func AddToScheme(s *runtime.Scheme) error {
	internal := runtime.APIVersionInternal
	gv := eventsv1.SchemeGroupVersion
	gv.Version = internal
	s.AddKnownTypes(gv, &corev1.Event{}, &corev1.EventList{})
	for _, add := range []func(*runtime.Scheme) error{addConversions, addFieldLabels} {
		if err := add(s); err != nil {
			return err
		}
	}
	return Kind().AddFieldLabels(s)
}

// addFieldLabels lets clients of events.k8s.io select by that group's names.
func addFieldLabels(s *runtime.Scheme) error {
	known := map[string]string{
		"reason": "reason", "type": "type", "reportingController": "reportingComponent",
		"metadata.name": "metadata.name", "metadata.namespace": "metadata.namespace",
	}
	for label := range selectable(&corev1.Event{}) {
		if sub, ok := strings.CutPrefix(label, "involvedObject."); ok {
			known["regarding."+sub] = label
		}
	}
	return s.AddFieldLabelConversionFunc(eventsv1.SchemeGroupVersion.WithKind("Event"),
		func(label, value string) (string, string, error) {
			stored, ok := known[label]
			if !ok {
				return "", "", fmt.Errorf("field label not supported: %s", label)
			}
			return stored, value, nil
		})
}

func columns() []metav1.TableColumnDefinition {
	doc := corev1.Event{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		kind.Column("Last Seen", "string", doc["lastTimestamp"], false),
		kind.Column("Type", "string", doc["type"], false),
		kind.Column("Reason", "string", doc["reason"], false),
		kind.Column("Object", "string", doc["involvedObject"], false),
		kind.Column("Subobject", "string", doc["involvedObject"], true),
		kind.Column("Source", "string", doc["source"], true),
		kind.Column("Message", "string", doc["message"], false),
		kind.Column("First Seen", "string", doc["firstTimestamp"], true),
		kind.Column("Count", "string", doc["count"], true),
		{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"], Priority: 1},
	}
}
