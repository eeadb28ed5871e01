package apiserver

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	storagevolume "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/claim"
)

// What a claim is told that may not grow, in Kubernetes' words.
var (
	errUnboundGrows     = errors.New("Only bound persistent volume claims can be expanded") //nolint:revive,staticcheck // Kubernetes' words
	errClassDoesNotGrow = errors.New("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
)

// claims give new claims the default class, protect claims and volumes from
// vanishing while they are used, and let only those claims grow whose class
// allows it.
type claims struct {
	*admission.Handler
	classes storagelisters.StorageClassLister
}

var (
	_ admission.MutationInterface   = (*claims)(nil)
	_ admission.ValidationInterface = (*claims)(nil)
)

func newClaims(shared informers.SharedInformerFactory) *claims {
	classes := shared.Storage().V1().StorageClasses()
	c := &claims{admission.NewHandler(admission.Create, admission.Update), classes.Lister()}
	c.SetReadyFunc(classes.Informer().HasSynced)
	return c
}

// Admit implements admission.MutationInterface.
func (c *claims) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetOperation() != admission.Create || a.GetSubresource() != "" {
		return nil
	}
	switch o := a.GetObject().(type) {
	case *corev1.PersistentVolume:
		o.Finalizers = protect(o.Finalizers, claim.VolumeProtection)
	case *corev1.PersistentVolumeClaim:
		o.Finalizers = protect(o.Finalizers, claim.ClaimProtection)
		if storagevolume.PersistentVolumeClaimHasClass(o) {
			return nil
		}
		if !c.WaitForReady() {
			return admission.NewForbidden(a, errNotSynced)
		}
		all, err := c.classes.List(labels.Everything())
		if err != nil {
			return admission.NewForbidden(a, err)
		}
		if d := claim.DefaultClass(all); d != nil {
			o.Spec.StorageClassName = ptr.To(d.Name)
		}
	}
	return nil
}

func protect(finalizers []string, by string) []string {
	if slices.Contains(finalizers, by) {
		return finalizers
	}
	return append(finalizers, by)
}

// Validate implements admission.ValidationInterface.
func (c *claims) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetOperation() != admission.Update || a.GetSubresource() != "" {
		return nil
	}
	now, ok := a.GetObject().(*corev1.PersistentVolumeClaim)
	old, was := a.GetOldObject().(*corev1.PersistentVolumeClaim)
	if !ok || !was {
		return nil
	}
	size, before := now.Spec.Resources.Requests.Storage(), old.Spec.Resources.Requests.Storage()
	if size.Cmp(*before) <= 0 {
		return nil
	}
	if old.Status.Phase != corev1.ClaimBound {
		return admission.NewForbidden(a, errUnboundGrows)
	}
	if !c.WaitForReady() {
		return admission.NewForbidden(a, errNotSynced)
	}
	class, err := c.classes.Get(storagevolume.GetPersistentVolumeClaimClass(old))
	if err != nil && !apierrors.IsNotFound(err) {
		return admission.NewForbidden(a, err)
	}
	if err != nil || !grows(class) {
		return admission.NewForbidden(a, errClassDoesNotGrow)
	}
	return nil
}

func grows(c *storagev1.StorageClass) bool { return ptr.Deref(c.AllowVolumeExpansion, false) }
