package apiserver

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/carob-project/carob/pkg/registry/limitrange"
)

var errNotSynced = errors.New("not yet ready to handle request")

// limits hold new pods, resized ones and claims to the LimitRanges of their
// namespace.
type limits struct {
	*admission.Handler
	ranges corelisters.LimitRangeLister
}

var (
	_ admission.MutationInterface   = (*limits)(nil)
	_ admission.ValidationInterface = (*limits)(nil)
)

func newLimits(shared informers.SharedInformerFactory) *limits {
	ranges := shared.Core().V1().LimitRanges()
	l := &limits{admission.NewHandler(admission.Create, admission.Update), ranges.Lister()}
	l.SetReadyFunc(ranges.Informer().HasSynced)
	return l
}

// Admit implements admission.MutationInterface.
func (l *limits) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	p, ranges, err := l.of(a)
	if err != nil {
		return err
	}
	if a.GetOperation() == admission.Create {
		for _, r := range ranges {
			limitrange.Apply(r, p)
		}
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (l *limits) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if claim, ok := a.GetObject().(*corev1.PersistentVolumeClaim); ok {
		return l.validateClaim(a, claim)
	}
	p, ranges, err := l.of(a)
	if err != nil {
		return err
	}
	return refuse(a, ranges, func(r *corev1.LimitRange) []error { return limitrange.Check(r, p) })
}

// validateClaim holds a claim to its size, also when it grows.
func (l *limits) validateClaim(a admission.Attributes, c *corev1.PersistentVolumeClaim) error {
	if a.GetSubresource() != "" || c.DeletionTimestamp != nil {
		return nil
	}
	ranges, err := l.inNamespace(a)
	if err != nil {
		return err
	}
	return refuse(a, ranges, func(r *corev1.LimitRange) []error { return limitrange.CheckClaim(r, c) })
}

// refuse returns all that the ranges have against a request.
func refuse(a admission.Attributes, ranges []*corev1.LimitRange, check func(*corev1.LimitRange) []error) error {
	var errs []error
	for _, r := range ranges {
		errs = append(errs, check(r)...)
	}
	if len(errs) > 0 {
		return admission.NewForbidden(a, utilerrors.NewAggregate(errs))
	}
	return nil
}

func (l *limits) inNamespace(a admission.Attributes) ([]*corev1.LimitRange, error) {
	if !l.WaitForReady() {
		return nil, admission.NewForbidden(a, errNotSynced)
	}
	return l.ranges.LimitRanges(a.GetNamespace()).List(labels.Everything())
}

// of returns the pod whose resources are being written, and what bounds it.
func (l *limits) of(a admission.Attributes) (*corev1.Pod, []*corev1.LimitRange, error) {
	resized := a.GetOperation() == admission.Update && a.GetSubresource() == "resize"
	made := a.GetOperation() == admission.Create && a.GetSubresource() == ""
	if !resized && !made || a.GetResource().GroupResource() != corev1.Resource("pods") {
		return nil, nil, nil
	}
	p, ok := a.GetObject().(*corev1.Pod)
	if !ok {
		return nil, nil, apierrors.NewBadRequest("resource was marked with kind Pod but was unable to be converted")
	}
	ranges, err := l.inNamespace(a)
	return p, ranges, err
}
