package pod

import (
	"strconv"
	"syscall"
	"time"
)

// StepKind says what a step does.
type StepKind string

// The kinds of step. Each is idempotent: carried out twice, or again after a
// crash in its middle, it ends in the same state.
const (
	// StepCreateSandbox makes the namespaces, the shared-memory mount and
	// the cgroup. It does not touch the network.
	StepCreateSandbox StepKind = "create-sandbox"
	// StepAttachNetwork runs CNI ADD in the sandbox, host ports included.
	StepAttachNetwork StepKind = "attach-network"
	// StepPrepareVolumes makes every volume and file the containers mount.
	StepPrepareVolumes StepKind = "prepare-volumes"
	// StepPullImage pulls Image.
	StepPullImage StepKind = "pull-image"
	// StepCreateContainer makes attempt Number of Container, up to a
	// process that waits for its start.
	StepCreateContainer StepKind = "create-container"
	// StepStartContainer starts the attempt with the given ID.
	StepStartContainer StepKind = "start-container"
	// StepPostStart runs the container's postStart hook in the attempt. Its
	// outcome goes to Observed.Hooks and never to Observed.Failures.
	StepPostStart StepKind = "post-start"
	// StepPreStop runs the container's preStop hook in the attempt, for Limit
	// at most. Its outcome goes where that of StepPostStart goes.
	StepPreStop StepKind = "pre-stop"
	// StepResize gives the pod's cgroup and its live attempts the resources
	// that the pod is granted now.
	StepResize StepKind = "resize"
	// StepSignalContainer sends Signal to the attempt's process.
	StepSignalContainer StepKind = "signal-container"
	// StepRemoveContainer removes an attempt that has ended, or kills and
	// removes one that has not.
	StepRemoveContainer StepKind = "remove-container"
	// StepDetachNetwork runs CNI DEL and releases host ports.
	StepDetachNetwork StepKind = "detach-network"
	// StepRemoveSandbox removes namespaces, mounts and cgroup.
	StepRemoveSandbox StepKind = "remove-sandbox"
	// StepRemoveVolumes removes volumes, logs and the pod's directory.
	StepRemoveVolumes StepKind = "remove-volumes"
	// StepDeletePod deletes the API object for good (grace 0, this UID).
	StepDeletePod StepKind = "delete-pod"
)

// StepID identifies a step of one pod, so that it is not begun twice at once
// and its failures are counted.
type StepID string

// Step is one thing to do for one pod. Fields that a kind does not name are
// zero. All steps of one Decision may be carried out at the same time.
type Step struct {
	Kind      StepKind
	Container string
	Image     string
	// Volume is the one that an image to pull is for; empty: a container.
	Volume string
	// Number and Streak are those of the attempt to create.
	Number int
	Streak int
	// Attempt is the ID of the attempt to start, signal or remove.
	Attempt string
	Signal  syscall.Signal
	// Limit is how long a hook may take; zero: as long as it needs.
	Limit time.Duration
	// Why is a sentence for the event and the log, as of a Killing event.
	Why string
}

// ID returns the identity of the step within its pod.
func (s Step) ID() StepID {
	switch s.Kind {
	case StepPullImage:
		return StepID(string(s.Kind) + "/" + s.Image)
	case StepCreateContainer:
		// Not the number: the failures of one container count together.
		return StepID(string(s.Kind) + "/" + s.Container)
	case StepStartContainer, StepRemoveContainer, StepPostStart, StepPreStop:
		return StepID(string(s.Kind) + "/" + s.Attempt)
	case StepSignalContainer:
		return StepID(string(s.Kind) + "/" + s.Attempt + "/" + strconv.Itoa(int(s.Signal)))
	default:
		return StepID(s.Kind)
	}
}

// Notice is an event that follows from the decision itself, not from the
// outcome of a step (BackOff, for one). The caller deduplicates.
type Notice struct {
	// Container is empty for a notice about the whole pod.
	Container string
	// Type is corev1.EventTypeNormal or EventTypeWarning.
	Type    string
	Reason  string
	Message string
}

// Decision is what Plan answers.
type Decision struct {
	// Steps can all begin now.
	Steps []Step
	// Notices are to be recorded as events.
	Notices []Notice
	// Wake is when to plan again although nothing has changed; zero: never.
	Wake time.Time
	// Stopping: the whole pod is being stopped. When an agent first saw it goes
	// to Observed.Stopping.
	Stopping bool
	// Done: nothing of the pod is left on the node and nothing has to be
	// reported any more; the agent can forget it.
	Done bool
}
