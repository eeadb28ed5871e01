// Package disruption says in the status of PodDisruptionBudgets how many pods
// may be evicted now.
//
// Decide is pure. It must not know how objects are read or written.
package disruption

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// patience is how long an eviction that was granted may take until its pod is
// deleted. After that the pod counts again.
const patience = 2 * time.Minute

// Scale tells how many pods the controller of a pod wants, and which
// controller that is in the end: the Deployment, not its ReplicaSet. ok is
// false for one that has no such number.
type Scale func(ref *metav1.OwnerReference) (owner types.UID, replicas int32, ok bool)

// Event is one to be recorded: about the budget, or about Pod if that is set.
type Event struct {
	Pod                   *corev1.Pod
	Type, Reason, Message string
}

// Decision is the status to be written.
type Decision struct {
	Status policyv1.PodDisruptionBudgetStatus
	Events []Event
	// After is when to decide again although nothing changed; 0: never.
	After time.Duration
}

// errNoController is what cannot be counted.
var errNoController = errors.New("found no controllers for pod")

// Decide is pure. pods are all that the budget selects.
func Decide(b *policyv1.PodDisruptionBudget, pods []*corev1.Pod, scale Scale, now time.Time) Decision {
	d := Decision{Status: *b.Status.DeepCopy()}
	d.Status.ObservedGeneration = b.Generation
	if len(pods) == 0 {
		d.tell(corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	expected, desired, bare, err := wanted(b, pods, scale)
	if err != nil {
		d.tell(corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: "+err.Error())
		d.Status.DisruptionsAllowed = 0
		d.set(metav1.ConditionFalse, policyv1.SyncFailedReason, err.Error())
		return d
	}
	if bare {
		d.tell(corev1.EventTypeWarning, "UnmanagedPods", fmt.Sprintf("Pods selected by this PodDisruptionBudget (selector: %v) were found "+
			"to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
			"To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.", b.Spec.Selector))
	}
	d.disrupted(b, pods, now)
	d.count(pods, expected, desired)
	return d
}

func (d *Decision) tell(typ, reason, message string) {
	d.Events = append(d.Events, Event{Type: typ, Reason: reason, Message: message})
}

func (d *Decision) set(status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&d.Status.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: status, Reason: reason, Message: message,
		ObservedGeneration: d.Status.ObservedGeneration,
	})
}

// disrupted keeps those evictions that were granted and are still to come.
func (d *Decision) disrupted(b *policyv1.PodDisruptionBudget, pods []*corev1.Pod, now time.Time) {
	d.Status.DisruptedPods = nil
	for _, p := range pods {
		at, granted := b.Status.DisruptedPods[p.Name]
		if !granted || p.DeletionTimestamp != nil {
			continue
		}
		left := at.Add(patience).Sub(now)
		if left <= 0 {
			d.Events = append(d.Events, Event{p, corev1.EventTypeWarning, "NotDeleted",
				fmt.Sprintf("Pod was expected by PDB %s/%s to be deleted but it wasn't", b.Namespace, b.Name)})
			continue
		}
		if d.Status.DisruptedPods == nil {
			d.Status.DisruptedPods = map[string]metav1.Time{}
		}
		d.Status.DisruptedPods[p.Name] = at
		d.After = workload.Sooner(d.After, left)
	}
}

func (d *Decision) count(pods []*corev1.Pod, expected, desired int32) {
	s := &d.Status
	s.CurrentHealthy, s.DesiredHealthy, s.ExpectedPods = 0, desired, expected
	for _, p := range pods {
		if _, leaving := s.DisruptedPods[p.Name]; !leaving && p.DeletionTimestamp == nil && workload.Ready(p) {
			s.CurrentHealthy++
		}
	}
	s.DisruptionsAllowed = max(s.CurrentHealthy-desired, 0)
	if expected <= 0 {
		s.DisruptionsAllowed = 0
	}
	if s.DisruptionsAllowed > 0 {
		d.set(metav1.ConditionTrue, policyv1.SufficientPodsReason, "")
	} else {
		d.set(metav1.ConditionFalse, policyv1.InsufficientPodsReason, "")
	}
}

// wanted is how many pods there should be, and how many of them healthy. bare
// says that some have no controller and could not be counted.
func wanted(b *policyv1.PodDisruptionBudget, pods []*corev1.Pod, scale Scale) (expected, desired int32, bare bool, err error) {
	least, most := b.Spec.MinAvailable, b.Spec.MaxUnavailable
	if most == nil && least == nil {
		return 0, 0, false, nil
	}
	if most == nil && least.Type == intstr.Int {
		return int32(len(pods)), least.IntVal, false, nil
	}
	if expected, bare, err = expectedScale(pods, scale); err != nil {
		return 0, 0, bare, err
	}
	share := func(v *intstr.IntOrString) int32 {
		n, scaleErr := intstr.GetScaledValueFromIntOrPercent(v, int(expected), true)
		err = errors.Join(err, scaleErr)
		return int32(n)
	}
	if most != nil {
		return expected, max(expected-share(most), 0), bare, err
	}
	return expected, share(least), bare, err
}

// expectedScale adds up what the controllers of the pods want.
func expectedScale(pods []*corev1.Pod, scale Scale) (n int32, bare bool, err error) {
	counted := map[types.UID]bool{}
	for _, p := range pods {
		ref := metav1.GetControllerOfNoCopy(p)
		if ref == nil {
			bare = true
			continue
		}
		owner, replicas, ok := scale(ref)
		if !ok {
			return 0, bare, fmt.Errorf("%w %q", errNoController, p.Name)
		}
		if !counted[owner] {
			counted[owner] = true
			n += replicas
		}
	}
	return n, bare, nil
}
