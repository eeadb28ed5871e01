package agent

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/carob-project/carob/pkg/pod"
)

// Reasons of events about a resize.
const (
	reasonResizeStarted   = "ResizeStarted"
	reasonResizeCompleted = "ResizeCompleted"
	reasonResizeDeferred  = "ResizeDeferred"
	reasonResizeError     = "ResizeError"
)

// resizeMessage is the message of such an event: what it is about, and all the
// resources of the pod.
func resizeMessage(what string, p *corev1.Pod, generation int64, failure string) string {
	type container struct {
		Name      string                      `json:"name"`
		Resources corev1.ResourceRequirements `json:"resources"`
	}
	list := func(cs []corev1.Container) []container {
		var out []container
		for i := range cs {
			out = append(out, container{cs[i].Name, cs[i].Resources})
		}
		return out
	}
	b, err := json.Marshal(struct {
		InitContainers []container `json:"initContainers,omitempty"`
		Containers     []container `json:"containers,omitempty"`
		Generation     int64       `json:"generation"`
		Error          string      `json:"error,omitempty"`
	}{list(p.Spec.InitContainers), list(p.Spec.Containers), generation, failure})
	if err != nil {
		return what
	}
	return what + ": " + string(b)
}

// tellResize records what became of a resize: that it is complete, or why it
// is not.
func (w *worker) tellResize(p *corev1.Pod, st corev1.PodStatus, r pod.Resize) {
	was, is := conditionOf(p.Status.Conditions), conditionOf(st.Conditions)
	switch {
	case is != nil && is.Reason == corev1.PodReasonError &&
		(was == nil || was.Reason != is.Reason || was.Message != is.Message || was.ObservedGeneration != is.ObservedGeneration):
		w.warning(p, "", reasonResizeError, "%s",
			resizeMessage("Pod resize error", p, is.ObservedGeneration, is.Message))
	case is == nil && was != nil && !terminal(st.Phase) && p.DeletionTimestamp == nil:
		w.completed(p, was.ObservedGeneration)
	case is == nil && r.Generation != 0 && p.DeletionTimestamp == nil:
		// Nothing ran that had to change.
		w.completed(p, r.Generation)
	}
}

// completed says once that the resize of a generation is complete.
func (w *worker) completed(p *corev1.Pod, generation int64) {
	w.a.mu.Lock()
	said := w.granted.done == generation
	w.granted.done = generation
	w.a.mu.Unlock()
	if !said {
		w.normal(p, "", reasonResizeCompleted, "%s", resizeMessage("Pod resize completed", p, generation, ""))
	}
}

// conditionOf is the condition of a resize that is being carried out.
func conditionOf(l []corev1.PodCondition) *corev1.PodCondition {
	for i := range l {
		if l[i].Type == corev1.PodResizeInProgress {
			return &l[i]
		}
	}
	return nil
}

func aggregate(errs []error) error { return utilerrors.NewAggregate(errs) }
