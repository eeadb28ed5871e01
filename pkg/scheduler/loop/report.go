package loop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/scheduler"
)

// Event reasons, as Kubernetes' scheduler gives them.
const (
	reasonScheduled        = "Scheduled"
	reasonFailedScheduling = "FailedScheduling"
	reasonPreempted        = "Preempted"
)

func podKey(p *corev1.Pod) string { return p.Namespace + "/" + p.Name }

// writeBinding asks the server to give the pod that node. The UID makes sure
// that it is this pod and not a later one of the same name.
func (s *Scheduler) writeBinding(ctx context.Context, p *corev1.Pod, node string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := s.client.CoreV1().Pods(p.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("bind pod %s to node %s: %w", podKey(p), node, err)
	}
	return nil
}

func (s *Scheduler) scheduled(p *corev1.Pod, node string) {
	s.recorder.Eventf(p, corev1.EventTypeNormal, reasonScheduled, "Successfully assigned %s to %s", podKey(p), node)
}

// rejected records that a choice could not be written.
func (s *Scheduler) rejected(p *corev1.Pod, r *report, cause error) {
	s.failed(p, r, "Binding rejected: "+cause.Error())
}

// failed records a FailedScheduling event, unless it was told just now.
func (s *Scheduler) failed(p *corev1.Pod, r *report, message string) {
	now := time.Now()
	if r.message == message && now.Sub(r.at) < reportAgain {
		return
	}
	*r = report{message: message, at: now}
	s.recorder.Event(p, corev1.EventTypeWarning, reasonFailedScheduling, message)
}

// tell says by event and by condition why the pod has no node, and which one is
// being cleared for it.
func (s *Scheduler) tell(ctx context.Context, p *corev1.Pod, r *report, d decision) error {
	s.failed(p, r, d.err.Error())
	want := condition(p, d.err)
	have := conditionOf(p)
	told := have != nil && have.Status == want.Status && have.Reason == want.Reason && have.Message == want.Message
	status := map[string]any{}
	if !told {
		status["conditions"] = []corev1.PodCondition{want}
	}
	if d.nominated != p.Status.NominatedNodeName {
		status["nominatedNodeName"] = nil
		if d.nominated != "" {
			status["nominatedNodeName"] = d.nominated
		}
	}
	return s.patchStatus(ctx, p, status)
}

// patchStatus writes parts of a pod's status; none is no request.
func (s *Scheduler) patchStatus(ctx context.Context, p *corev1.Pod, status map[string]any) error {
	if len(status) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID}, "status": status})
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err = s.client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("patch status of pod %s: %w", podKey(p), err)
	}
	return nil
}

// condition is the PodScheduled condition for a pod without a node.
func condition(p *corev1.Pod, cause error) corev1.PodCondition {
	c := corev1.PodCondition{
		Type:               corev1.PodScheduled,
		Status:             corev1.ConditionFalse,
		ObservedGeneration: p.Generation,
		Reason:             corev1.PodReasonSchedulerError,
		Message:            cause.Error(),
		LastTransitionTime: metav1.Now(),
	}
	if fit := (*scheduler.FitError)(nil); errors.As(cause, &fit) || errors.Is(cause, scheduler.ErrNoNodes) {
		c.Reason = corev1.PodReasonUnschedulable
	}
	if have := conditionOf(p); have != nil && have.Status == c.Status {
		c.LastTransitionTime = have.LastTransitionTime
	}
	return c
}

func conditionOf(p *corev1.Pod) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == corev1.PodScheduled {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}
