package limitrange

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// annotation tells what a pod was given.
const annotation = "kubernetes.io/limit-ranger"

// Apply gives the containers of a new pod what they leave open, as the range
// says, and notes that in an annotation.
func Apply(l *corev1.LimitRange, p *corev1.Pod) {
	limits, requests := corev1.ResourceList{}, corev1.ResourceList{}
	for _, item := range l.Spec.Limits {
		if item.Type == corev1.LimitTypeContainer {
			maps.Copy(limits, item.Default)
			maps.Copy(requests, item.DefaultRequest)
		}
	}
	notes := give("container", p.Spec.Containers, limits, requests)
	notes = append(notes, give("init container", p.Spec.InitContainers, limits, requests)...)
	if len(notes) == 0 {
		return
	}
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Annotations[annotation] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
}

func give(what string, list []corev1.Container, limits, requests corev1.ResourceList) []string {
	var notes []string
	for i := range list {
		c := &list[i]
		newLimits := missing(&c.Resources.Limits, limits)
		if set := missing(&c.Resources.Requests, requests); len(set) > 0 {
			notes = append(notes, fmt.Sprintf("%s request for %s %s", strings.Join(set, ", "), what, c.Name))
		}
		if len(newLimits) > 0 {
			notes = append(notes, fmt.Sprintf("%s limit for %s %s", strings.Join(newLimits, ", "), what, c.Name))
		}
	}
	return notes
}

// missing adds to the list what only more has, and returns the names.
func missing(list *corev1.ResourceList, more corev1.ResourceList) []string {
	var names []string
	for name := range more {
		if _, has := (*list)[name]; !has {
			names = append(names, string(name))
		}
	}
	if len(names) > 0 {
		*list = filled(*list, more)
	}
	slices.Sort(names)
	return names
}

// Check returns everything about a pod that a range does not allow.
func Check(l *corev1.LimitRange, p *corev1.Pod) []error {
	var errs []error
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		switch item.Type {
		case corev1.LimitTypeContainer:
			for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
				errs = append(errs, check(item, c.Resources.Requests, c.Resources.Limits)...)
			}
		case corev1.LimitTypePod:
			o := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
			errs = append(errs, check(item, resourcehelper.PodRequests(p, o), resourcehelper.PodLimits(p, o))...)
		}
	}
	return errs
}

// Violation is what is wrong with an amount, in Kubernetes' words.
type Violation string

func (v Violation) Error() string { return string(v) }

func check(item *corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	var errs []error
	each := func(list corev1.ResourceList, f func(a amounts) string) {
		for _, name := range slices.Sorted(maps.Keys(list)) {
			a := amounts{kind: string(item.Type), name: string(name), bound: list[name]}
			a.request, a.requested = requests[name]
			a.limit, a.limited = limits[name]
			if text := f(a); text != "" {
				errs = append(errs, Violation(text))
			}
		}
	}
	each(item.Min, amounts.least)
	each(item.Max, amounts.most)
	each(item.MaxLimitRequestRatio, amounts.ratio)
	return errs
}

// amounts are those of one resource, beside the bound that a range sets.
type amounts struct {
	kind, name            string
	bound, request, limit resource.Quantity
	requested, limited    bool
}

func (a amounts) least() string {
	head := fmt.Sprintf("minimum %s usage per %s is %s", a.name, a.kind, a.bound.String())
	switch {
	case !a.requested:
		return head + ".  No request is specified"
	case a.request.Cmp(a.bound) < 0:
		return fmt.Sprintf("%s, but request is %s", head, a.request.String())
	case a.limited && a.limit.Cmp(a.bound) < 0:
		return fmt.Sprintf("%s, but limit is %s", head, a.limit.String())
	}
	return ""
}

func (a amounts) most() string {
	head := fmt.Sprintf("maximum %s usage per %s is %s", a.name, a.kind, a.bound.String())
	switch {
	case !a.limited:
		return head + ".  No limit is specified"
	case a.limit.Cmp(a.bound) > 0:
		return fmt.Sprintf("%s, but limit is %s", head, a.limit.String())
	case a.requested && a.request.Cmp(a.bound) > 0:
		return fmt.Sprintf("%s, but request is %s", head, a.request.String())
	}
	return ""
}

func (a amounts) ratio() string {
	head := fmt.Sprintf("%s max limit to request ratio per %s is %s", a.name, a.kind, a.bound.String())
	if !a.requested || a.request.IsZero() {
		return head + ", but no request is specified or request is 0"
	}
	if !a.limited || a.limit.IsZero() {
		return head + ", but no limit is specified or limit is 0"
	}
	if is := a.limit.AsApproximateFloat64() / a.request.AsApproximateFloat64(); is > a.bound.AsApproximateFloat64() {
		return fmt.Sprintf("%s, but provided ratio is %f", head, is)
	}
	return ""
}
