package poddisruptionbudget

import (
	"errors"
	"strings"
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestTake(t *testing.T) {
	for title, c := range map[string]struct {
		status policyv1.PodDisruptionBudgetStatus
		is     func(error) bool
		cause  string
	}{
		"not looked at yet": {policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 5}, apierrors.IsTooManyRequests, "The disruption budget b is still being processed by the server."},
		"nothing left":      {policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, CurrentHealthy: 2, DesiredHealthy: 3}, apierrors.IsTooManyRequests, "The disruption budget b needs 3 healthy pods and has 2 currently"},
		"cannot be known": {policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, Conditions: []metav1.Condition{{
			Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason, Message: "why",
		}}}, apierrors.IsTooManyRequests, "does not allow evicting pods currently because it failed sync: why"},
		"negative": {policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 2, DisruptionsAllowed: -1}, apierrors.IsForbidden, "pdb disruptions allowed is negative"},
	} {
		b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b", Generation: 2}, Status: c.status}
		err := take(b, "p", metav1.Now())
		var status apierrors.APIStatus
		if !c.is(err) || !errors.As(err, &status) || !strings.Contains(status.Status().Details.Causes[0].Message, c.cause) {
			t.Errorf("%s: %v", title, err)
		}
		if len(b.Status.DisruptedPods) != 0 {
			t.Errorf("%s: taken all the same", title)
		}
	}
	b := &policyv1.PodDisruptionBudget{Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 2}}
	at := metav1.Now()
	for i, pod := range []string{"p", "q"} {
		if err := take(b, pod, at); err != nil {
			t.Fatal(err)
		}
		if b.Status.DisruptionsAllowed != int32(1-i) || b.Status.DisruptedPods[pod] != at || len(b.Status.Conditions) != i {
			t.Errorf("%+v", b.Status)
		}
	}
	if b.Status.Conditions[0].Reason != policyv1.InsufficientPodsReason {
		t.Errorf("%+v", b.Status.Conditions)
	}
}

func TestValidateAndRow(t *testing.T) {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b"}}
	b.Spec = policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{}, MinAvailable: ptr.To(intstr.FromString("50%"))}
	if errs := Validate(b); len(errs) != 0 {
		t.Error(errs)
	}
	if row := Kind().Row(b); len(row) != len(Kind().Columns) || row[1] != "50%" || row[2] != "N/A" || row[3] != int64(0) {
		t.Errorf("%v", row)
	}
	old := b.DeepCopy()
	old.Generation = 1
	b.Spec.MinAvailable, b.Spec.MaxUnavailable = ptr.To(intstr.FromString("x")), ptr.To(intstr.FromInt32(-1))
	b.Spec.UnhealthyPodEvictionPolicy = ptr.To(policyv1.UnhealthyPodEvictionPolicyType("Maybe"))
	mainRules().PrepareUpdate(b, old)
	var all []string
	for _, e := range mainRules().ValidateUpdate(t.Context(), b, old) {
		all = append(all, e.Error())
	}
	got := strings.Join(all, "; ")
	for _, want := range []string{
		"minAvailable and maxUnavailable cannot be both set", "spec.minAvailable: Invalid value: \"x\"",
		"spec.maxUnavailable: Invalid value: -1", `spec.unhealthyPodEvictionPolicy: Unsupported value: "Maybe": supported values: "AlwaysAllow", "IfHealthyBudget"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if b.Generation != 2 || len(validateStatus(&policyv1.PodDisruptionBudgetStatus{ExpectedPods: -1}, nil)) != 1 {
		t.Errorf("generation %d", b.Generation)
	}
}
