package agent

import (
	"errors"
	"time"

	"github.com/carob-project/carob/pkg/pod"
)

// failureOf returns what is to be remembered about a step that failed with
// err, after last, its failure before (zero where there was none).
func failureOf(kind pod.StepKind, err error, last pod.Failure, now time.Time) pod.Failure {
	f := pod.Failure{Count: last.Count + 1, At: now, Reason: reasonOf(kind, err), Message: err.Error()}
	// A reference that cannot be parsed stays so; anything else may change
	// outside the pod.
	f.Final = errors.Is(err, pod.ErrImageName)
	return f
}

func reasonOf(kind pod.StepKind, err error) string {
	switch kind {
	case pod.StepPullImage:
		if errors.Is(err, pod.ErrImageName) {
			return pod.ReasonInvalidImageName
		}
		return pod.ReasonErrImagePull
	case pod.StepCreateContainer:
		switch {
		case errors.Is(err, pod.ErrImageName):
			return pod.ReasonInvalidImageName
		case errors.Is(err, pod.ErrConfig):
			return pod.ReasonCreateContainerConfig
		}
		return pod.ReasonCreateContainer
	case pod.StepStartContainer:
		return pod.ReasonRunContainer
	case pod.StepPrepareVolumes:
		return pod.ReasonFailedMount
	case pod.StepCreateSandbox, pod.StepAttachNetwork:
		return pod.ReasonCreateSandbox
	case pod.StepSignalContainer, pod.StepRemoveContainer:
		return reasonFailedKill
	case pod.StepDetachNetwork, pod.StepRemoveSandbox, pod.StepRemoveVolumes, pod.StepDeletePod:
		return reasonFailedCleanup
	}
	return pod.ReasonError
}

// Event reasons that no status shows.
const (
	reasonFailedKill    = "FailedKillPod"
	reasonFailedCleanup = "FailedCleanup"
	reasonFailed        = "Failed"
	reasonPulling       = "Pulling"
	reasonPulled        = "Pulled"
	reasonInspectFailed = "InspectFailed"
	reasonNoPullSecret  = "FailedToRetrieveImagePullSecret"
	reasonCreated       = "Created"
	reasonStarted       = "Started"
	reasonKilling       = "Killing"
	reasonInvalidNames  = "InvalidEnvironmentVariableNames"

	reasonFailedPostStart = "FailedPostStartHook"
	reasonFailedPreStop   = "FailedPreStopHook"
	reasonUnhealthy       = "Unhealthy"
	reasonProbeWarning    = "ProbeWarning"
)
