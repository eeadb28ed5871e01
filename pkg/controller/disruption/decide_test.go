package disruption

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func pod(name, owner string, ready bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if owner != "" {
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: owner, UID: types.UID(owner), Controller: ptr.To(true)}}
	}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func leaving(p *corev1.Pod) *corev1.Pod {
	p.DeletionTimestamp = ptr.To(metav1.NewTime(now))
	return p
}

func budget(least, most string, disrupted map[string]metav1.Time) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
	if least != "" {
		b.Spec.MinAvailable = ptr.To(intstr.Parse(least))
	}
	if most != "" {
		b.Spec.MaxUnavailable = ptr.To(intstr.Parse(most))
	}
	b.Status.DisruptedPods = disrupted
	return b
}

// scale: rs wants four pods, and so does its sibling of the same Deployment.
func scale(ref *metav1.OwnerReference) (types.UID, int32, bool) {
	switch ref.Name {
	case "rs", "sibling":
		return "deployment", 4, true
	case "other":
		return "other", 2, true
	}
	return "", 0, false
}

func TestDecide(t *testing.T) {
	all := func(n int) []*corev1.Pod {
		var pods []*corev1.Pod
		for i := range n {
			pods = append(pods, pod(fmt.Sprint("p", i), "rs", true))
		}
		return pods
	}
	at := func(ago time.Duration) map[string]metav1.Time {
		return map[string]metav1.Time{"p0": metav1.NewTime(now.Add(-ago)), "gone": metav1.NewTime(now)}
	}
	for title, c := range map[string]struct {
		budget *policyv1.PodDisruptionBudget
		pods   []*corev1.Pod
		want   string
	}{
		"a share may go":            {budget("", "25%", nil), all(4), "4 of 4 healthy, 3 needed, 1 allowed: SufficientPods"},
		"a share rounds up":         {budget("", "30%", nil), all(4), "4 of 4 healthy, 2 needed, 2 allowed: SufficientPods"},
		"so many may go":            {budget("", "1", nil), all(3), "3 of 4 healthy, 3 needed, 0 allowed: InsufficientPods"},
		"all may go":                {budget("", "9", nil), all(4), "4 of 4 healthy, 0 needed, 4 allowed: SufficientPods"},
		"so many have to stay":      {budget("2", "", nil), all(4), "4 of 4 healthy, 2 needed, 2 allowed: SufficientPods"},
		"a share has to stay":       {budget("60%", "", nil), all(4), "4 of 4 healthy, 3 needed, 1 allowed: SufficientPods"},
		"a number needs no owner":   {budget("1", "", nil), []*corev1.Pod{pod("a", "", true), pod("b", "", true)}, "2 of 2 healthy, 1 needed, 1 allowed: SufficientPods"},
		"a share of nobody's":       {budget("", "50%", nil), []*corev1.Pod{pod("a", "", true)}, "1 of 0 healthy, 0 needed, 0 allowed: InsufficientPods UnmanagedPods"},
		"nothing there":             {budget("", "1", nil), nil, "0 of 0 healthy, 0 needed, 0 allowed: InsufficientPods NoPods"},
		"says nothing":              {budget("", "", nil), all(2), "2 of 0 healthy, 0 needed, 0 allowed: InsufficientPods"},
		"siblings count once":       {budget("", "50%", nil), []*corev1.Pod{pod("a", "rs", true), pod("b", "sibling", true), pod("c", "other", true)}, "3 of 6 healthy, 3 needed, 0 allowed: InsufficientPods"},
		"what is not ready":         {budget("1", "", nil), []*corev1.Pod{pod("a", "rs", true), pod("b", "rs", false), leaving(pod("c", "rs", true))}, "1 of 3 healthy, 1 needed, 0 allowed: InsufficientPods"},
		"granted and still there":   {budget("2", "", at(time.Minute)), all(4), "3 of 4 healthy, 2 needed, 1 allowed: SufficientPods, p0 disrupted, again in 1m0s"},
		"granted and not carried":   {budget("2", "", at(3*time.Minute)), all(4), "4 of 4 healthy, 2 needed, 2 allowed: SufficientPods NotDeleted"},
		"a controller without size": {budget("", "1", nil), []*corev1.Pod{pod("a", "job", true)}, "0 of 0 healthy, 0 needed, 0 allowed: SyncFailed CalculateExpectedPodCountFailed"},
	} {
		d := Decide(c.budget, c.pods, scale, now)
		s := d.Status
		got := fmt.Sprintf("%d of %d healthy, %d needed, %d allowed: %s", s.CurrentHealthy, s.ExpectedPods, s.DesiredHealthy, s.DisruptionsAllowed, s.Conditions[0].Reason)
		for _, e := range d.Events {
			got += " " + e.Reason
		}
		for name := range s.DisruptedPods {
			got += ", " + name + " disrupted"
		}
		if d.After > 0 {
			got += fmt.Sprintf(", again in %v", d.After)
		}
		if got != c.want || s.ObservedGeneration != 3 {
			t.Errorf("%s: %s, want %s", title, got, c.want)
		}
		// What is settled is not written again.
		b := c.budget.DeepCopy()
		b.Status = s
		if again := Decide(b, c.pods, scale, now); fmt.Sprint(again.Status) != fmt.Sprint(s) {
			t.Errorf("%s: %+v, then %+v", title, s, again.Status)
		}
	}
}
