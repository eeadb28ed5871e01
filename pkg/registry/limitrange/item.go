package limitrange

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/pod"
)

// validateItem checks the names of resources, and that no two numbers of one
// contradict each other.
func validateItem(item *corev1.LimitRangeItem, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[corev1.ResourceName]bool{}
	check := func(child string, list corev1.ResourceList) {
		for _, name := range slices.Sorted(maps.Keys(list)) {
			names[name] = true
			errs = append(errs, pod.ValidateResource(string(name), at.Child(child).Key(string(name)))...)
		}
	}
	check("max", item.Max)
	check("min", item.Min)
	if item.Type == corev1.LimitTypePod {
		const alone = "may not be specified when `type` is 'Pod'"
		if len(item.Default) > 0 {
			errs = append(errs, field.Forbidden(at.Child("default"), alone))
		}
		if len(item.DefaultRequest) > 0 {
			errs = append(errs, field.Forbidden(at.Child("defaultRequest"), alone))
		}
	} else {
		check("default", item.Default)
		check("defaultRequest", item.DefaultRequest)
	}
	check("maxLimitRequestRatio", item.MaxLimitRequestRatio)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n := numbersOf(item, name)
		errs = append(errs, n.order(at)...)
		errs = append(errs, n.ratios(at)...)
	}
	return errs
}

// numbers are those of one resource; nil where there is none.
type numbers struct {
	name                               string
	least, most, limit, request, ratio *resource.Quantity
}

func numbersOf(item *corev1.LimitRangeItem, name corev1.ResourceName) numbers {
	of := func(list corev1.ResourceList) *resource.Quantity {
		q, ok := list[name]
		if !ok {
			return nil
		}
		return &q
	}
	n := numbers{name: string(name), least: of(item.Min), most: of(item.Max), ratio: of(item.MaxLimitRequestRatio)}
	if item.Type != corev1.LimitTypePod {
		n.limit, n.request = of(item.Default), of(item.DefaultRequest)
	}
	return n
}

func (n numbers) order(at *field.Path) field.ErrorList {
	var errs field.ErrorList
	wrong := func(child string, shown, low, high *resource.Quantity, text string) {
		if low != nil && high != nil && low.Cmp(*high) > 0 {
			errs = append(errs, field.Invalid(at.Child(child).Key(n.name), *shown, fmt.Sprintf(text, low.String(), high.String())))
		}
	}
	wrong("min", n.least, n.least, n.most, "min value %s is greater than max value %s")
	wrong("defaultRequest", n.request, n.least, n.request, "min value %s is greater than default request value %s")
	wrong("defaultRequest", n.request, n.request, n.most, "default request value %s is greater than max value %s")
	wrong("defaultRequest", n.request, n.request, n.limit, "default request value %s is greater than default limit value %s")
	wrong("default", n.least, n.least, n.limit, "min value %s is greater than default value %s")
	wrong("default", n.most, n.limit, n.most, "default value %s is greater than max value %s")
	return errs
}

func (n numbers) ratios(at *field.Path) field.ErrorList {
	var errs field.ErrorList
	path := at.Child("maxLimitRequestRatio").Key(n.name)
	if n.ratio != nil && n.ratio.Cmp(resource.MustParse("1")) < 0 {
		errs = append(errs, field.Invalid(path, *n.ratio, fmt.Sprintf("ratio %s is less than 1", n.ratio.String())))
	}
	if n.ratio != nil && n.least != nil && n.most != nil {
		if most := n.most.AsApproximateFloat64() / n.least.AsApproximateFloat64(); n.ratio.AsApproximateFloat64() > most {
			errs = append(errs, field.Invalid(path, *n.ratio, fmt.Sprintf("ratio %s is greater than max/min = %f", n.ratio.String(), most)))
		}
	}
	shared := n.name == string(corev1.ResourceCPU) || n.name == string(corev1.ResourceMemory) || n.name == string(corev1.ResourceEphemeralStorage)
	if !shared && n.limit != nil && n.request != nil && n.limit.Cmp(*n.request) != 0 {
		errs = append(errs, field.Invalid(at.Child("defaultRequest").Key(n.name), *n.request,
			fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", n.limit.String(), n.request.String(), n.name)))
	}
	return errs
}
