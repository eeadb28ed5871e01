package agent

import (
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/carob-project/carob/pkg/pod"
)

// terminal says whether a phase is one that never changes again.
func terminal(p corev1.PodPhase) bool {
	return p == corev1.PodSucceeded || p == corev1.PodFailed
}

// own says whether the node alone writes a condition.
func own(t corev1.PodConditionType) bool {
	switch t {
	case corev1.PodReady, corev1.ContainersReady, corev1.PodInitialized, corev1.PodReadyToStartContainers,
		corev1.AllContainersRestarting, corev1.PodResizePending, corev1.PodResizeInProgress:
		return true
	}
	return false
}

// mergeStatus returns what the API should have, given what it has and what
// the node says: conditions of others stay as they are, and so does a terminal
// phase with its reason.
func mergeStatus(have, want corev1.PodStatus) corev1.PodStatus {
	out := *want.DeepCopy()
	others := 0
	for _, c := range have.Conditions {
		i := slices.IndexFunc(out.Conditions, func(o corev1.PodCondition) bool { return o.Type == c.Type })
		switch {
		case i < 0 && pod.OfResize(c.Type):
			// It goes with what it told of.
		case i < 0:
			out.Conditions = slices.Insert(out.Conditions, others, c)
			others++
		case !own(c.Type):
			out.Conditions[i] = c
		}
	}
	if terminal(have.Phase) && out.Phase != have.Phase {
		out.Phase, out.Reason, out.Message = have.Phase, have.Reason, have.Message
	}
	return out
}

// statusPatch returns the strategic merge patch that makes have into want on
// the pod with the given UID, and nil where they are the same in the API's
// form.
func statusPatch(uid types.UID, have, want corev1.PodStatus) ([]byte, error) {
	oldJSON, err := json.Marshal(corev1.Pod{Status: have})
	if err != nil {
		return nil, fmt.Errorf("encoding the status: %w", err)
	}
	newJSON, err := json.Marshal(corev1.Pod{Status: want})
	if err != nil {
		return nil, fmt.Errorf("encoding the status: %w", err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(oldJSON, newJSON, corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("making the status patch: %w", err)
	}
	var fields struct {
		Status json.RawMessage `json:"status"`
	}
	if err := json.Unmarshal(patch, &fields); err != nil {
		return nil, fmt.Errorf("reading the status patch: %w", err)
	}
	if fields.Status == nil {
		return nil, nil
	}
	// The UID makes the API server refuse the patch where the name belongs
	// to another pod by now.
	b, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": uid},
		"status":   fields.Status,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the status patch: %w", err)
	}
	return b, nil
}

// urgent says whether somebody may be waiting for the change; anything else
// can wait a moment, so that what follows is written with it.
func urgent(have, want corev1.PodStatus) bool {
	if want.Phase != have.Phase && want.Phase != corev1.PodPending {
		return true
	}
	return readyStatus(have) != readyStatus(want)
}

func readyStatus(s corev1.PodStatus) bool {
	return slices.ContainsFunc(s.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
