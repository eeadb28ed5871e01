package poddisruptionbudget

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/pod"
)

// mostDisrupted bounds the evictions that the controller has not seen yet.
const mostDisrupted = 2000

// Budgets are the budgets of all namespaces. The namespace is that of the
// request.
type Budgets struct {
	all    *kind.REST[*policyv1.PodDisruptionBudget]
	status *kind.SubREST[*policyv1.PodDisruptionBudget]
}

// Of returns the budgets that a pod falls under.
func (b *Budgets) Of(ctx context.Context, p *corev1.Pod) ([]*policyv1.PodDisruptionBudget, error) {
	obj, err := b.all.List(ctx, &metainternalversion.ListOptions{})
	if err != nil {
		return nil, err
	}
	list, ok := obj.(*policyv1.PodDisruptionBudgetList)
	if !ok {
		return nil, fmt.Errorf("budgets are listed as %T", obj)
	}
	var out []*policyv1.PodDisruptionBudget
	for i := range list.Items {
		s, err := metav1.LabelSelectorAsSelector(list.Items[i].Spec.Selector)
		if err == nil && s.Matches(labels.Set(p.Labels)) {
			out = append(out, &list.Items[i])
		}
	}
	return out, nil
}

// Spend takes one disruption from a budget, or tells why there is none. It
// looks and takes in one write, so that no two evictions have the same one.
func (b *Budgets) Spend(ctx context.Context, name, evicted string, dryRun []string) error {
	_, _, err := b.status.Update(ctx, name, rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		budget, ok := old.DeepCopyObject().(*policyv1.PodDisruptionBudget)
		if !ok {
			return nil, fmt.Errorf("%T is no budget", old)
		}
		return budget, take(budget, evicted, metav1.Now())
	}), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{DryRun: dryRun})
	return err
}

// take is pure.
func take(b *policyv1.PodDisruptionBudget, evicted string, now metav1.Time) error {
	s := &b.Status
	gr := policyv1.Resource("poddisruptionbudget")
	switch {
	case s.ObservedGeneration < b.Generation:
		return pod.EvictionUnsettled(b.Name)
	case s.DisruptionsAllowed < 0:
		return because(apierrors.NewForbidden(gr, b.Name, errors.New("pdb disruptions allowed is negative")),
			"The disruption budget %s does not allow evicting pods currently: pdb disruptions allowed is negative", b.Name)
	case len(s.DisruptedPods) > mostDisrupted:
		return because(apierrors.NewForbidden(gr, b.Name, errors.New("DisruptedPods map too big - too many evictions not confirmed by PDB controller")),
			"The disruption budget %s does not allow evicting pods currently: too many pending evictions not confirmed by PDB controller", b.Name)
	case s.DisruptionsAllowed == 0:
		return pod.EvictionRefused(0, spent(b))
	}
	s.DisruptionsAllowed--
	if s.DisruptionsAllowed == 0 {
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{
			Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse,
			Reason: policyv1.InsufficientPodsReason, ObservedGeneration: s.ObservedGeneration,
		})
	}
	if s.DisruptedPods == nil {
		s.DisruptedPods = map[string]metav1.Time{}
	}
	s.DisruptedPods[evicted] = now
	return nil
}

// spent says why nothing is left.
func spent(b *policyv1.PodDisruptionBudget) string {
	c := meta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition)
	told := c != nil && c.Status == metav1.ConditionFalse && c.Message != ""
	switch {
	case told && c.Reason == policyv1.SyncFailedReason:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", b.Name, c.Message)
	case b.Status.CurrentHealthy <= b.Status.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy)
	case told:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", b.Name, c.Reason, c.Message)
	default:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", b.Name)
	}
}

func because(err *apierrors.StatusError, format string, a ...any) error {
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: policyv1.DisruptionBudgetCause, Message: fmt.Sprintf(format, a...),
	})
	return err
}
