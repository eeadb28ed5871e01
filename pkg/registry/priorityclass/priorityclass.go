// Package priorityclass declares the PriorityClass kind: what a valid one is,
// which ones every cluster has, and how it is printed.
package priorityclass

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind"
)

const (
	// HighestUser is the highest value that users may give.
	HighestUser int32 = 1000000000
	// SystemPrefix begins the names that are not the users' to take.
	SystemPrefix = "system-"

	clusterCritical = SystemPrefix + "cluster-critical"
	nodeCritical    = SystemPrefix + "node-critical"

	clusterCriticalValue = 2 * HighestUser
	nodeCriticalValue    = clusterCriticalValue + 1000
)

// System returns the classes that every cluster has.
func System() []*schedulingv1.PriorityClass {
	class := func(name string, value int32, description string) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: description,
			PreemptionPolicy: ptr.To(corev1.PreemptLowerPriority),
		}
	}
	return []*schedulingv1.PriorityClass{
		class(nodeCritical, nodeCriticalValue, "Used for system critical pods that must not be moved from their current node."),
		class(clusterCritical, clusterCriticalValue, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
	}
}

// Kind declares PriorityClass.
func Kind() kind.Kind[*schedulingv1.PriorityClass] {
	docs := schedulingv1.PriorityClass{}.SwaggerDoc()
	return kind.Kind[*schedulingv1.PriorityClass]{
		GVK:                 schedulingv1.SchemeGroupVersion.WithKind("PriorityClass"),
		Resource:            "priorityclasses",
		Singular:            "priorityclass",
		ShortNames:          []string{"pc"},
		UnconditionalUpdate: true,
		New:                 func() *schedulingv1.PriorityClass { return &schedulingv1.PriorityClass{} },
		NewList:             func() runtime.Object { return &schedulingv1.PriorityClassList{} },
		Main: kind.Rules[*schedulingv1.PriorityClass]{
			Prepare:  func(c *schedulingv1.PriorityClass) { c.Generation = 1 },
			Validate: func(_ context.Context, c *schedulingv1.PriorityClass) field.ErrorList { return Validate(c) },
			ValidateUpdate: func(_ context.Context, c, old *schedulingv1.PriorityClass) field.ErrorList {
				return ValidateUpdate(c, old)
			},
		},
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Value", "integer", docs["value"], false),
			kind.Column("Global-Default", "boolean", docs["globalDefault"], false),
			kind.AgeColumn(),
			kind.Column("PreemptionPolicy", "string", docs["preemptionPolicy"], false),
		},
		Row: func(c *schedulingv1.PriorityClass) []any {
			return []any{c.Name, int64(c.Value), c.GlobalDefault, kind.Age(c.CreationTimestamp), string(ptr.Deref(c.PreemptionPolicy, ""))}
		},
	}
}

// AddToScheme registers defaults and selectable fields.
func AddToScheme(s *runtime.Scheme) error {
	s.AddTypeDefaultingFunc(&schedulingv1.PriorityClass{}, func(o any) { SetDefaults(o.(*schedulingv1.PriorityClass)) })
	return Kind().AddToScheme(s)
}

// SetDefaults lets pods of a class preempt others, where it does not say.
func SetDefaults(c *schedulingv1.PriorityClass) {
	if c.PreemptionPolicy == nil {
		c.PreemptionPolicy = ptr.To(corev1.PreemptLowerPriority)
	}
}

// Validate checks a new class.
func Validate(c *schedulingv1.PriorityClass) field.ErrorList {
	var errs field.ErrorList
	if strings.HasPrefix(c.Name, SystemPrefix) {
		if err := known(c); err != nil {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"),
				"priority class names with '"+SystemPrefix+"' prefix are reserved for system use only. error: "+err.Error()))
		}
	} else if c.Value > HighestUser {
		errs = append(errs, field.Forbidden(field.NewPath("value"),
			fmt.Sprintf("maximum allowed value of a user defined priority is %d", HighestUser)))
	}
	if p := c.PreemptionPolicy; p != nil {
		at := field.NewPath("preemptionPolicy")
		switch *p {
		case corev1.PreemptLowerPriority, corev1.PreemptNever:
		case "":
			errs = append(errs, field.Required(at, ""))
		default:
			errs = append(errs, field.NotSupported(at, *p,
				[]corev1.PreemptionPolicy{corev1.PreemptLowerPriority, corev1.PreemptNever}))
		}
	}
	return errs
}

// known says how a class whose name is the system's differs from it.
func known(c *schedulingv1.PriorityClass) error {
	for _, s := range System() {
		switch {
		case s.Name != c.Name:
		case s.Value != c.Value:
			return fmt.Errorf("value of %s PriorityClass must be %d", s.Name, s.Value)
		case s.GlobalDefault != c.GlobalDefault:
			return fmt.Errorf("globalDefault of %s PriorityClass must be %t", s.Name, s.GlobalDefault)
		default:
			return nil
		}
	}
	return fmt.Errorf("%s is not a known system priority class", c.Name)
}

// ValidateUpdate lets nothing change that pods were admitted by.
func ValidateUpdate(c, old *schedulingv1.PriorityClass) field.ErrorList {
	var errs field.ErrorList
	if c.Value != old.Value {
		errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
	}
	return append(errs, apivalidation.ValidateImmutableField(c.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
}
