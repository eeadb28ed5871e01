package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Ref names one pod for ever: a pod recreated under the same name has another
// UID and is another pod.
type Ref struct {
	UID       types.UID
	Namespace string
	Name      string
}

// RefOf returns the Ref of a pod object.
func RefOf(p *corev1.Pod) Ref {
	return Ref{UID: p.UID, Namespace: p.Namespace, Name: p.Name}
}

// Observed is what a node knows about one pod at one instant. The agent makes
// it anew before each Plan; nothing in it outlives that call.
type Observed struct {
	// Sandbox is nil where none exists.
	Sandbox *Sandbox
	// VolumesReady says that every volume of the pod is mounted or written.
	VolumesReady bool
	// VolumesPresent says that something of the pod's volumes or directory
	// is on the disk, ready or not, and so has to be removed with the pod.
	VolumesPresent bool
	// Attempts are all attempts of all containers that the runtime knows,
	// in any order.
	Attempts []Attempt
	// Images are the images present on the node, by the reference that a
	// container of this pod names. An absent key: not present.
	Images map[string]Image
	// InFlight are the steps that are being carried out now. Plan does not
	// ask for them again.
	InFlight map[StepID]Flight
	// Failures are the steps whose last execution failed, with how often in
	// a row. They live in the agent's memory only and are forgotten with a
	// success, or with the agent.
	Failures map[StepID]Failure
	// Stops tells when this agent first sent the stop signal to an attempt,
	// by attempt ID.
	Stops map[string]time.Time
	// Kills tells when this agent last sent SIGKILL to an attempt, by attempt
	// ID. Plan asks for it again only when the attempt is still alive after
	// KillRetry.
	Kills map[string]time.Time
	// Pulled tells when this agent last pulled an image with success for
	// this pod, by the reference that the container names. It is how
	// imagePullPolicy Always is kept: one pull before each attempt. An agent
	// that restarts begins with none, and pulls once more at most.
	Pulled map[string]time.Time
	// Probes tells what the probes of an attempt have found, by attempt ID. An
	// agent that restarts begins with none; what the previous status says of
	// the same attempt holds until then.
	Probes map[string]Probes
	// Hooks tells how the lifecycle hooks of an attempt went, by attempt ID.
	// An agent that restarts begins with none, and runs a hook again whose
	// end no status shows.
	Hooks map[string]Hooks
	// Stopping is when this agent first got a Decision that says Stopping;
	// zero before that.
	Stopping time.Time
	// Deleted: StepDeletePod has succeeded, or the API object is gone. It
	// may still be there because of finalizers, but asks nothing of the node
	// any more.
	Deleted bool
	// Resize is where a change of the pod's resources stands.
	Resize Resize
	// Limits are those that the kernel keeps for attempts that run, by attempt
	// ID, and under the empty ID for the whole pod. An absent key: not known.
	Limits map[string]Resources
	// Node is what the status says about the node.
	Node Node
	// Features are those of the pod's runtime.
	Features Features
	// Evicted is set when the node itself, or its admission, ends the pod:
	// reason and message of the Failed phase. Nil otherwise.
	Evicted *Eviction
}

// ProbeKind says what a probe is for.
type ProbeKind string

// The kinds of probe, by the names that events use.
const (
	StartupProbe   ProbeKind = "startup"
	LivenessProbe  ProbeKind = "liveness"
	ReadinessProbe ProbeKind = "readiness"
)

// Probes is what the probes of one attempt have found so far. Those that the
// container does not have say nothing.
type Probes struct {
	// Started: the startup probe has succeeded.
	Started bool
	// Ready is what the readiness probe says; nil before its first verdict.
	Ready *bool
	// Failed is the startup or liveness probe that has failed for good, so
	// that the attempt has to be replaced; else empty.
	Failed ProbeKind
}

// HookState is how far a lifecycle hook is.
type HookState int

// The states of a hook.
const (
	// HookPending: it has not run, or not to its end.
	HookPending HookState = iota
	// HookDone: it ended well.
	HookDone
	// HookFailed: it ended badly, or its time was over.
	HookFailed
)

// Hooks is how the lifecycle hooks of one attempt went.
type Hooks struct {
	PostStart, PreStop HookState
	// Message says why PostStart failed.
	Message string
	// PreStopAt is when PreStop first began: the grace period counts from
	// there. Zero: it has not.
	PreStopAt time.Time
}

// Resize is where a change of the pod's resources stands. The pod that is
// planned for has those that were granted.
type Resize struct {
	// Pending is why the spec's are not granted; nil: they are.
	Pending *PendingResize
	// Generation is that of the spec last granted; zero: not by this agent.
	Generation int64
}

// PendingResize is a resize that the node does not grant, or not now.
type PendingResize struct {
	// Reason is that of the condition: Deferred or Infeasible.
	Reason  string
	Message string
	// Generation is that of the spec it is about.
	Generation int64
}

// Node is the part of a node that a pod's status repeats.
type Node struct {
	HostIPs []string
}

// Eviction is why a node ends a pod for good.
type Eviction struct {
	Reason  string
	Message string
	// Disrupts: the pod was admitted before, so that the condition
	// DisruptionTarget tells controllers who ended it.
	Disrupts bool
	// Grace in seconds replaces the pod's grace period where it is set.
	Grace *int64
}

// Rejected is how the message of a pod begins that its node did not admit.
const Rejected = "Pod was rejected: "

// Sandbox is what the containers of a pod share: namespaces, an IPC mount, a
// cgroup, a network attachment.
type Sandbox struct {
	// Namespaces holds the paths of the pinned namespaces.
	Namespaces Namespaces
	// Users are the IDs behind the user namespace, where it is not the host's.
	Users IDRange
	// ShmPath is the directory mounted at /dev/shm of every container.
	ShmPath string
	// Level is the SELinux level of the pod's containers that name none of
	// their own; empty where the node has no SELinux.
	Level string
	// CgroupParent is the pod's cgroup in the form the runtime's driver
	// wants: a path for cgroupfs, a slice name for systemd.
	CgroupParent string
	// Attached says that CNI ADD succeeded and has not been undone since; IPs
	// are its result.
	Attached bool
	IPs      []string
	// Stale says that the sandbox can serve no new container: it is of an
	// earlier boot, or a part of it has gone. It has to be removed and made
	// anew.
	Stale     bool
	CreatedAt time.Time
}

// Namespaces are paths of pinned namespaces; an empty path means the host's.
type Namespaces struct {
	Net, IPC, UTS string
	// User owns the others where it is not the host's.
	User string
}

// Image is an image that is present and unpacked on the node.
type Image struct {
	// Name is the reference in the runtime's normal form.
	Name string
	// ID is what containerStatuses[].imageID shows: the repository digest
	// where there is one, else the config digest.
	ID string
	// Size in bytes, compressed, as the store has it.
	Size int64
	// Keys are those of the credentials it was pulled with, separated by
	// spaces. An image without is for every pod.
	Keys string
}

// AttemptState is where an attempt stands.
type AttemptState int

// The states, in the order in which they follow each other.
const (
	// AttemptCreated: the process exists and has not been started.
	AttemptCreated AttemptState = iota
	// AttemptRunning: started and not known to have ended.
	AttemptRunning
	// AttemptExited: ended; the exit is recorded and its task is gone.
	AttemptExited
)

// Attempt is one numbered, immutable try at running a container.
type Attempt struct {
	Pod       Ref
	Container string
	Init      bool
	// Number counts from 0; the highest one of a container is its
	// restartCount.
	Number int
	// Streak is how many restarts in a row the back-off counts, this one
	// included: 0 for a first attempt, 1 for a first restart; it begins
	// anew after the container has run for long enough.
	Streak int
	// ID is the runtime's name of the attempt.
	ID       string
	SpecHash string
	// Applied is what AppliedFor says of the resources it runs with; empty
	// where a version of carob made it that could not resize.
	Applied string
	// ImageName is the reference as the spec had it; ImageID as in Image.
	ImageName string
	ImageID   string
	State     AttemptState
	CreatedAt time.Time
	StartedAt time.Time
	// Exit is set where State is AttemptExited.
	Exit *Exit
	// User is whom the attempt runs as; nil where that is not known.
	User *User
	// PID is the init process in the host's PID namespace while the attempt
	// is created or running, else 0.
	PID int
}

// User is the user of a process, with all its groups.
type User struct {
	UID, GID int64
	Groups   []int64
}

// Exit is how an attempt ended.
type Exit struct {
	Code int
	// Signal is the number of the signal that ended the process, or 0.
	Signal     int
	FinishedAt time.Time
	// OOMKilled: the kernel killed a process of the attempt for memory.
	OOMKilled bool
	// Lost: nobody saw the end (a reboot, a killed shim); Code is then 137.
	Lost bool
	// StartError is set where the process could not be started at all.
	StartError string
	// Message is the termination message, read by the runtime's caller
	// according to terminationMessagePath and -Policy.
	Message string
}

// Flight is a step under way.
type Flight struct {
	Since time.Time
	// Note is a short progress text, as of an image pull. It may be empty.
	Note string
}

// Failure is the last failure of a step and how many there were in a row.
type Failure struct {
	Count int
	At    time.Time
	// Reason is the waiting reason or event reason it shows as, such as
	// ErrImagePull or CreateContainerError; see the Reason constants.
	Reason  string
	Message string
	// Final: trying again is useless while the spec stays as it is.
	Final bool
}
