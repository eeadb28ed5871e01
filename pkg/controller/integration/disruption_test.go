package integration

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

func disruptionBudget(t *testing.T, c kubernetes.Interface, ns string) {
	if _, err := c.AppsV1().Deployments(ns).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](4), Selector: selector("web"), Template: template("web", "i")},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	budgets := c.PolicyV1().PodDisruptionBudgets(ns)
	if _, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: selector("web"), MaxUnavailable: ptr.To(intstr.FromString("25%"))},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	allows := func() string {
		b, err := budgets.Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		s := b.Status
		if s.DisruptionsAllowed != 1 || s.CurrentHealthy != 4 || s.DesiredHealthy != 3 || s.ExpectedPods != 4 || len(s.DisruptedPods) != 0 ||
			len(s.Conditions) != 1 || s.Conditions[0].Reason != "SufficientPods" || s.ObservedGeneration != b.Generation {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	}
	eventually(t, allows)
	quiet(t, func() string {
		b, err := budgets.Get(t.Context(), "web", metav1.GetOptions{})
		return fmt.Sprint(b.ResourceVersion, err)
	})
	granted, refused := evictAll(t, c, ns)
	if granted != 1 || refused != 3 {
		t.Errorf("%d granted, %d refused", granted, refused)
	}
	eventually(t, allows)
	// Nobody's pod may be evicted as often as one likes, a second budget makes
	// it unclear.
	if _, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "too"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: selector("web"), MinAvailable: ptr.To(intstr.FromInt32(0))},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	name := slices.Sorted(maps.Keys(pods(t, c, ns)))[0]
	if err := evict(t, c, ns, name); !apierrors.IsInternalError(err) && (err == nil || !strings.Contains(err.Error(), "more than one PodDisruptionBudget")) {
		t.Errorf("under two budgets: %v", err)
	}
	_, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "bad"},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: ptr.To(intstr.FromString("101%")), MaxUnavailable: ptr.To(intstr.FromInt32(-1)),
			UnhealthyPodEvictionPolicy: ptr.To(policyv1.UnhealthyPodEvictionPolicyType("Never")),
		},
	}, metav1.CreateOptions{})
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || len(status.Status().Details.Causes) != 4 {
		t.Errorf("%v", err)
	}
}

func evict(t *testing.T, c kubernetes.Interface, ns, name string) error {
	return c.PolicyV1().Evictions(ns).Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}})
}

// evictAll asks for all pods at the same time.
func evictAll(t *testing.T, c kubernetes.Interface, ns string) (granted, refused int) {
	t.Helper()
	var mu sync.Mutex
	var wait sync.WaitGroup
	for name := range pods(t, c, ns) {
		wait.Go(func() {
			err := evict(t, c, ns, name)
			mu.Lock()
			defer mu.Unlock()
			var status apierrors.APIStatus
			switch {
			case err == nil:
				granted++
			case apierrors.IsTooManyRequests(err) && errors.As(err, &status) && len(status.Status().Details.Causes) == 1 &&
				strings.HasPrefix(status.Status().Details.Causes[0].Message, "The disruption budget web "):
				refused++
			default:
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wait.Wait()
	return granted, refused
}
