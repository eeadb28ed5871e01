package pod

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/warning"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/carob-project/carob/pkg/registry/kind"
)

var (
	_ rest.RESTCreateStrategy              = strategy{}
	_ rest.RESTUpdateStrategy              = strategy{}
	_ rest.RESTGracefulDeleteStrategy      = strategy{}
	_ rest.GarbageCollectionDeleteStrategy = strategy{}
	_ rest.ResetFieldsStrategy             = strategy{}
	_ rest.UpdateResetFieldsStrategy       = statusStrategy{}
)

// typer knows the one type this package stores, whatever scheme serves it.
type typer struct{}

func (typer) ObjectKinds(obj runtime.Object) ([]schema.GroupVersionKind, bool, error) {
	if _, ok := obj.(*corev1.Pod); !ok {
		return nil, false, fmt.Errorf("want a Pod, got %T", obj)
	}
	return []schema.GroupVersionKind{corev1.SchemeGroupVersion.WithKind("Pod")}, false, nil
}

func (typer) Recognizes(gvk schema.GroupVersionKind) bool {
	return gvk == corev1.SchemeGroupVersion.WithKind("Pod")
}

// strategy is how pods are created, updated and deleted through the API.
type strategy struct {
	typer
	kind.SaidOnce
	names.NameGenerator
}

func newStrategy() strategy { return strategy{NameGenerator: names.SimpleNameGenerator} }

func (strategy) NamespaceScoped() bool                         { return true }
func (strategy) AllowCreateOnUpdate(context.Context) bool      { return false }
func (strategy) AllowUnconditionalUpdate(context.Context) bool { return true }

// GetResetFields names what a client's apply to pods cannot own.
func (strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		"v1": fieldpath.NewSet(fieldpath.MakePathOrDie("status")),
	}
}

func (strategy) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	p := obj.(*corev1.Pod)
	p.Generation = 1
	for _, text := range adoptOldAppArmor(p) {
		warning.AddWarning(ctx, "", text)
	}
	defaultPodLevel(&p.Spec)
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: QOSClass(&p.Spec)}
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
	admit(&p.Spec)
	mergeLabelKeys(p)
}

func (strategy) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	return ValidateCreate(obj.(*corev1.Pod))
}

func (strategy) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	return warnings(obj.(*corev1.Pod))
}

func (strategy) Canonicalize(obj runtime.Object) { mirrorServiceAccount(&obj.(*corev1.Pod).Spec) }

func (strategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	p, was := obj.(*corev1.Pod), old.(*corev1.Pod)
	p.Status = was.Status
	readmit(&p.Spec, &was.Spec)
	if !apiequality.Semantic.DeepEqual(p.Spec, was.Spec) {
		p.Generation = was.Generation + 1
	}
}

func (strategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return ValidateUpdate(obj.(*corev1.Pod), old.(*corev1.Pod))
}

// WarningsOnUpdate are none, as in Kubernetes: hardly ever does a person update
// a pod.
func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func (strategy) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	return rest.DeleteDependents
}

// CheckGracefulDelete sets the grace period: that of the request, else that
// of the pod. A pod that no node runs, or that has ended, goes at once.
func (strategy) CheckGracefulDelete(_ context.Context, obj runtime.Object, options *metav1.DeleteOptions) bool {
	if options == nil {
		return false
	}
	p := obj.(*corev1.Pod)
	var grace int64
	switch {
	case options.GracePeriodSeconds != nil:
		grace = *options.GracePeriodSeconds
	case p.Spec.TerminationGracePeriodSeconds != nil:
		grace = *p.Spec.TerminationGracePeriodSeconds
	}
	if p.Spec.NodeName == "" || ended(p) {
		grace = 0
	}
	if grace < 0 {
		grace = 1
	}
	options.GracePeriodSeconds = &grace
	return true
}

// ended says whether the pod's phase is final.
func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// statusStrategy is how the status subresource writes: the status, and
// nothing that the user decides.
type statusStrategy struct{ strategy }

func (statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		"v1": fieldpath.NewSet(
			fieldpath.MakePathOrDie("spec"),
			fieldpath.MakePathOrDie("metadata", "deletionTimestamp"),
			fieldpath.MakePathOrDie("metadata", "ownerReferences"),
		),
	}
}

func (statusStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	p, was := obj.(*corev1.Pod), old.(*corev1.Pod)
	p.Spec = was.Spec
	p.DeletionTimestamp = nil
	p.OwnerReferences = was.OwnerReferences
	if p.Status.QOSClass == "" {
		p.Status.QOSClass = was.Status.QOSClass
	}
	syncIPs(&p.Status)
}

// WarningsOnUpdate are about addresses that not all programs read alike.
func (statusStrategy) WarningsOnUpdate(_ context.Context, obj, _ runtime.Object) []string {
	p, at := obj.(*corev1.Pod), field.NewPath("status")
	var out []string
	for i, ip := range podIPs(p) {
		out = append(out, addressWarning(at.Child("podIPs").Index(i).Child("ip"), ip)...)
	}
	for i, ip := range hostIPs(p) {
		out = append(out, addressWarning(at.Child("hostIPs").Index(i).Child("ip"), ip)...)
	}
	return out
}

func (statusStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return ValidateStatusUpdate(obj.(*corev1.Pod), old.(*corev1.Pod))
}

// syncIPs keeps the single IP and the first of the list equal; the single
// one counts where they differ.
func syncIPs(s *corev1.PodStatus) {
	switch {
	case s.PodIP == "" && len(s.PodIPs) > 0:
		s.PodIP = s.PodIPs[0].IP
	case s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP):
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
	switch {
	case s.HostIP == "" && len(s.HostIPs) > 0:
		s.HostIP = s.HostIPs[0].IP
	case s.HostIP != "" && (len(s.HostIPs) == 0 || s.HostIPs[0].IP != s.HostIP):
		s.HostIPs = []corev1.HostIP{{IP: s.HostIP}}
	}
}
