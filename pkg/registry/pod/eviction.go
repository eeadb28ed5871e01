package pod

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/dryrun"
)

// Budgets are what evictions have to keep to.
type Budgets interface {
	// Of returns the budgets that a pod falls under.
	Of(ctx context.Context, p *corev1.Pod) ([]*policyv1.PodDisruptionBudget, error)
	// Spend takes one disruption from a budget, or returns why there is none,
	// as an API status.
	Spend(ctx context.Context, name, pod string, dryRun []string) error
}

// EvictionREST deletes a pod on behalf of one who empties a node, if the
// budgets allow it.
type EvictionREST struct {
	store *genericregistry.Store
	// Budgets may be nil: then every eviction is granted.
	Budgets Budgets
}

var (
	_ rest.NamedCreater             = &EvictionREST{}
	_ rest.GroupVersionKindProvider = &EvictionREST{}
)

// New returns an empty Eviction.
func (*EvictionREST) New() runtime.Object { return &policyv1.Eviction{} }

// Destroy does nothing: the store belongs to REST.
func (*EvictionREST) Destroy() {}

// GroupVersionKind says that the body is of another group than the pod.
func (*EvictionREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

// Create evicts the pod of that name.
func (r *EvictionREST) Create(ctx context.Context, name string, obj runtime.Object,
	validate rest.ValidateObjectFunc, options *metav1.CreateOptions,
) (runtime.Object, error) {
	eviction, ok := obj.(*policyv1.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not an Eviction object: %T", obj))
	}
	if eviction.Name != name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if validate != nil {
		if err := validate(ctx, eviction.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	deletion := &metav1.DeleteOptions{}
	if eviction.DeleteOptions != nil {
		deletion = eviction.DeleteOptions.DeepCopy()
	}
	if dryrun.IsDryRun(options.DryRun) {
		deletion.DryRun = options.DryRun
	}
	budget, err := r.allow(ctx, name, deletion)
	if err != nil {
		return nil, err
	}
	if err := r.mark(ctx, name, deletion); err != nil {
		return nil, unsettled(err, budget)
	}
	if _, _, err := r.store.Delete(ctx, name, rest.ValidateAllObjectFunc, deletion); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}, nil
}

var errSeveralBudgets = errors.New("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.") //nolint:staticcheck,revive // Kubernetes' words

// allow asks the budgets. A pod that serves nobody costs nothing; it must not
// begin to until it is deleted, so deletion is tied to what has been seen, and
// the budget that this is about is returned.
func (r *EvictionREST) allow(ctx context.Context, name string, deletion *metav1.DeleteOptions) (budget string, err error) {
	if r.Budgets == nil {
		return "", nil
	}
	obj, err := r.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	p, ok := obj.(*corev1.Pod)
	if !ok || ended(p) || p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodPending {
		return "", nil
	}
	budgets, err := r.Budgets.Of(ctx, p)
	switch {
	case err != nil || len(budgets) == 0:
		return "", err
	case len(budgets) > 1:
		return "", &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: errSeveralBudgets.Error(),
		}}
	}
	b := budgets[0]
	if !conditionTrue(p, corev1.PodReady) && spares(b) {
		if deletion.Preconditions == nil {
			deletion.Preconditions = &metav1.Preconditions{}
		}
		if deletion.Preconditions.ResourceVersion == nil {
			deletion.Preconditions.ResourceVersion = &p.ResourceVersion
			return b.Name, nil
		}
		return "", nil
	}
	return "", r.Budgets.Spend(ctx, b.Name, name, deletion.DryRun)
}

// spares says whether pods that are not ready may go without a look at how
// many disruptions are left.
func spares(b *policyv1.PodDisruptionBudget) bool {
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.DesiredHealthy > 0 && b.Status.CurrentHealthy >= b.Status.DesiredHealthy
}

// unsettled asks a client to try again whose pod changed under a budget.
func unsettled(err error, budget string) error {
	if budget == "" || !apierrors.IsConflict(err) {
		return err
	}
	return EvictionUnsettled(budget)
}

// evictAgain is after how many seconds an eviction is worth another try, where
// that can be told.
const evictAgain = 10

// EvictionUnsettled is the refusal while nobody knows what a budget allows.
func EvictionUnsettled(budget string) error {
	return EvictionRefused(evictAgain, fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget))
}

// EvictionRefused is the refusal on behalf of a budget, for the given cause.
// after is when to try again, in seconds; 0: that cannot be told.
func EvictionRefused(after int, cause string) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", after)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: policyv1.DisruptionBudgetCause, Message: cause,
	})
	return err
}

// mark tells in the pod's conditions why it goes, before it goes.
func (r *EvictionREST) mark(ctx context.Context, name string, deletion *metav1.DeleteOptions) error {
	var pre *storage.Preconditions
	if p := deletion.Preconditions; p != nil {
		pre = &storage.Preconditions{UID: p.UID, ResourceVersion: p.ResourceVersion}
		// Marking makes a new resource version; the UID still holds.
		deletion.Preconditions = &metav1.Preconditions{UID: p.UID}
	}
	return updatePod(ctx, r.store, "eviction", name, pre, deletion.DryRun, func(p *corev1.Pod) error {
		if ended(p) || p.DeletionTimestamp != nil {
			return nil
		}
		setCondition(p, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
		})
		return nil
	})
}
