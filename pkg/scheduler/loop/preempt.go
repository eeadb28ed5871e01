package loop

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	schedulinghelper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/scheduler"
)

// nominee is a pod for which a place is being cleared.
type nominee struct {
	pod *corev1.Pod
	scheduler.Nomination
}

// decision is what is to be done about one pod.
type decision struct {
	// node is where it runs, err why it does not.
	node string
	err  error
	// nominated is the node that is being cleared for it, preemption how.
	nominated  string
	preemption scheduler.Preemption
	// outranked have lost their nomination to this pod.
	outranked []*corev1.Pod
	// volumes are what its claims get on the node, and are waited for.
	volumes []scheduler.VolumeChoice
}

// decide chooses a node, or the pods that have to leave one. A node that has
// been cleared for the pod is preferred to all others. The caller holds the
// lock.
func (s *Scheduler) decide(pod *corev1.Pod) decision {
	var d decision
	mine := s.nominated[pod.UID].Nomination
	s.among(pod, func() {
		if mine.Node != "" && scheduler.Fits(pod, s.snapshot, mine.Node) {
			d.node = mine.Node
			return
		}
		var res scheduler.Result
		res, d.err = scheduler.Schedule(pod, s.snapshot)
		d.node = res.Node
		if fit := (*scheduler.FitError)(nil); errors.As(d.err, &fit) {
			d.preemption = scheduler.Preempt(pod, s.snapshot, fit, mine)
			fit.Preemption = d.preemption.Message
		}
	})
	if d.err == nil {
		d.volumes = scheduler.Volumes(pod, s.snapshot, d.node)
	}
	switch {
	case d.preemption.Waiting:
		d.nominated = mine.Node
	case d.preemption.Node != "":
		d.nominated = d.preemption.Node
		d.outranked = s.outrank(pod, d.nominated)
		s.nominate(pod, d.preemption)
	default:
		delete(s.nominated, pod.UID)
	}
	return d
}

// among calls f while the pods with a nomination that this one must respect
// count against their nodes.
func (s *Scheduler) among(pod *corev1.Pod, f func()) {
	var placed []types.UID
	for uid, n := range s.nominated {
		if _, assumed := s.assumed[uid]; assumed || uid == pod.UID || priorityOf(n.pod) < priorityOf(pod) {
			continue
		}
		s.snapshot.SetPod(n.pod, n.Node)
		placed = append(placed, uid)
	}
	f()
	for _, uid := range placed {
		s.snapshot.RemovePod(uid)
	}
}

func (s *Scheduler) nominate(pod *corev1.Pod, p scheduler.Preemption) {
	n := scheduler.Nomination{Node: p.Node}
	for _, v := range p.Victims {
		n.Victims = append(n.Victims, v.UID)
	}
	s.nominated[pod.UID] = nominee{pod, n}
}

// outrank takes the node from lesser pods that wait for it, and has them look
// for another.
func (s *Scheduler) outrank(pod *corev1.Pod, node string) []*corev1.Pod {
	var out []*corev1.Pod
	for uid, n := range s.nominated {
		if uid == pod.UID || n.Node != node || priorityOf(n.pod) >= priorityOf(pod) {
			continue
		}
		delete(s.nominated, uid)
		out = append(out, n.pod)
	}
	if len(out) > 0 {
		s.queue.wake(func(p *corev1.Pod) bool {
			for _, o := range out {
				if o.UID == p.UID {
					return true
				}
			}
			return false
		})
	}
	return out
}

func priorityOf(p *corev1.Pod) int32 { return schedulinghelper.PodPriority(p) }

// evict has the victims of a decision leave. All are tried; those that are
// going already are left alone, so that it can be repeated.
func (s *Scheduler) evict(ctx context.Context, pod *corev1.Pod, d decision) error {
	var errs []error
	for _, v := range d.preemption.Victims {
		if err := s.evictOne(ctx, pod, v, d.preemption.Node); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	for _, o := range d.outranked {
		err := s.patchStatus(ctx, o, map[string]any{"nominatedNodeName": nil})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// evictOne says in the victim's status why it goes, and deletes it.
func (s *Scheduler) evictOne(ctx context.Context, pod, victim *corev1.Pod, node string) error {
	if victim.DeletionTimestamp != nil {
		return nil
	}
	err := s.patchStatus(ctx, victim, map[string]any{"conditions": []corev1.PodCondition{{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
		Message:            pod.Spec.SchedulerName + ": preempting to accommodate a higher priority pod",
		ObservedGeneration: victim.Generation, LastTransitionTime: metav1.Now(),
	}}})
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err = s.client.CoreV1().Pods(victim.Namespace).Delete(bounded, victim.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: ptr.To(victim.UID)},
	})
	if err != nil {
		return fmt.Errorf("preempt pod %s: %w", podKey(victim), err)
	}
	s.log.Info("pod preempted", zap.String("pod", podKey(victim)), zap.String("uid", string(victim.UID)),
		zap.String("node", node), zap.String("by", podKey(pod)))
	s.recorder.Eventf(victim, corev1.EventTypeNormal, reasonPreempted, "Preempted by pod %s on node %s", pod.UID, node)
	return nil
}
