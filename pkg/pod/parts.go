package pod

import (
	"context"
	"errors"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Errors that the parts below wrap, so that their callers need no text.
var (
	// ErrNotFound: the thing is not there. Removing it again is no error.
	ErrNotFound = errors.New("not found")
	// ErrImageName: the reference cannot be parsed (InvalidImageName).
	ErrImageName = errors.New("invalid image name")
	// ErrImagePlatform: the image has no variant for this machine.
	ErrImagePlatform = errors.New("no image for this platform")
	// ErrConfig: the container cannot be made from what the pod refers to,
	// such as a missing ConfigMap key (CreateContainerConfigError).
	ErrConfig = errors.New("invalid container configuration")
	// ErrUnavailable: the part itself does not answer (containerd is gone).
	// It says nothing about the pod; try again when the part is back.
	ErrUnavailable = errors.New("unavailable")
)

// Runtime runs attempts. Every method is safe for concurrent use, idempotent,
// and returns an error that wraps one of the sentinels above where one fits.
type Runtime interface {
	// Create makes the attempt up to a process that waits for its start,
	// and returns its ID. An attempt of the same pod, container and number
	// that exists already is returned as it is.
	Create(ctx context.Context, r CreateRequest) (id string, err error)
	// Start starts a created attempt; one that runs already is left alone.
	// A process that cannot be executed makes the attempt Exited with
	// Exit.StartError, and Start returns that error too.
	Start(ctx context.Context, id string) error
	// Signal signals the init process of the attempt. An attempt that has
	// ended or is unknown is no error.
	Signal(ctx context.Context, id string, sig syscall.Signal) error
	// Remove kills what still runs and removes the attempt, its snapshot
	// and its pipes. An unknown attempt is no error.
	Remove(ctx context.Context, id string) error
}

// RuntimeView tells what runs. It shows only this instance's attempts.
type RuntimeView interface {
	// List returns all attempts of all pods.
	List(ctx context.Context) ([]Attempt, error)
	// ListPod returns all attempts of one pod.
	ListPod(ctx context.Context, uid types.UID) ([]Attempt, error)
	// Watch returns a channel of changes until ctx ends. The subscription
	// exists when Watch returns. The channel is closed when the
	// subscription breaks; the caller then watches and lists again.
	// Changes may be missed: list from time to time.
	Watch(ctx context.Context) (<-chan Change, error)
}

// Change says that something about a pod's attempts may have changed. A zero
// UID means: any pod.
type Change struct {
	UID types.UID
}

// Images keeps images.
type Images interface {
	// Present returns the image a reference names, if it is on the node and
	// ready for use; found is false where it is not.
	Present(ctx context.Context, ref string) (img Image, found bool, err error)
	// Pull pulls and unpacks the image. Calls for one image at the same time
	// share a pull, which is given up when none of them waits any more; how
	// many run at once is bounded, and one registry holds up no other.
	Pull(ctx context.Context, ref string, o PullOptions) (Image, error)
}

// Sandboxes makes and removes what the containers of a pod share.
type Sandboxes interface {
	// Create makes the namespaces, mounts and cgroup. One that exists and is
	// whole is returned as it is.
	Create(ctx context.Context, p *corev1.Pod) (*Sandbox, error)
	// Attach connects the sandbox to the network and returns its IPs. An
	// attached one is returned as it is.
	Attach(ctx context.Context, p *corev1.Pod) ([]string, error)
	// Detach undoes Attach, also a half-done one.
	Detach(ctx context.Context, uid types.UID) error
	// Remove detaches if needed and removes everything of the sandbox.
	Remove(ctx context.Context, uid types.UID) error
}

// SandboxView tells which sandboxes there are.
type SandboxView interface {
	// Get returns nil where the pod has none.
	Get(uid types.UID) (*Sandbox, error)
	// List returns the UIDs of all sandboxes, whole or not.
	List() ([]types.UID, error)
}

// Volumes makes what containers mount.
type Volumes interface {
	// Prepare makes every volume of the pod, and its hosts and resolv.conf
	// files, from objects it resolves itself. Called again it brings them up
	// to date. What is missing is named in an error that wraps ErrConfig.
	// It is called before the pod has an IP.
	Prepare(ctx context.Context, p *corev1.Pod) error
	// Mounts returns the mounts of one container in the order of its
	// volumeMounts, and those of hosts, hostname, resolv.conf and the
	// termination message file, after a successful Prepare. It creates
	// subPath targets and the attempt's own files.
	Mounts(ctx context.Context, p *corev1.Pod, container string, attempt int) ([]Mount, error)
	// SetIPs writes the pod's IPs into its hosts file in place, so that
	// containers that mount it already see them.
	SetIPs(ctx context.Context, p *corev1.Pod, ips []string) error
	// Remove unmounts and removes everything of the pod, logs included.
	Remove(ctx context.Context, uid types.UID) error
}

// CreateRequest is everything a runtime needs to make one attempt. The image's
// own environment, entry point, user and working directory are the runtime's
// to merge, as the Kubernetes documentation says: Command replaces the entry
// point, Args replaces the image's command.
type CreateRequest struct {
	Pod       Ref
	Container string
	Init      bool
	Number    int
	Streak    int
	SpecHash  string
	// Applied is what Attempt.Applied is to be.
	Applied string
	// ImageName is the reference as in the spec; it must be present.
	ImageName string

	Command    []string
	Args       []string
	WorkingDir string
	// Env is expanded already; later entries win over earlier ones and over
	// the image's.
	Env []EnvVar

	Mounts  []Mount
	Sandbox Sandbox
	// Handler names the runtime, one of those that the node was told; empty:
	// its default.
	Handler string
	// Hostname is that of the sandbox, for the HOSTNAME variable.
	Hostname  string
	Resources Resources
	// Stdout and Stderr are paths of FIFOs, made by the caller before
	// Create and read by it.
	Stdout, Stderr string
	// Stdin is the path of a FIFO made by the caller; empty: the process
	// reads an end of file.
	Stdin string
	// TTY gives the process a terminal, whose output goes to Stdout.
	TTY bool
	// OOMScoreAdj is what the process should have; the runtime clamps it to
	// what it may set.
	OOMScoreAdj int
	Security    Security
	// HostPID: the processes are in the node's PID namespace.
	HostPID bool
	// ProcessesOf is the ID of another attempt, whose PID namespace this one
	// joins. Empty: it has its own.
	ProcessesOf string
	// Reaper: the first process is an init that runs the command, hands
	// signals on to it, ends as it does, and reaps orphans.
	Reaper bool
	// Holder: there is no image and no command. The attempt is a process that
	// does nothing but hold a PID namespace for others and reap orphans.
	Holder bool
}

// EnvVar is a name and its final value.
type EnvVar struct {
	Name, Value string
}

// Mount is a bind mount into a container.
type Mount struct {
	HostPath      string
	ContainerPath string
	ReadOnly      bool
	// Recursive mounts take what is mounted below HostPath along.
	Recursive bool
	// RecursiveReadOnly: with ReadOnly, for what is mounted below it, too.
	RecursiveReadOnly bool
	// Propagation says which later mounts below it are handed on; empty: none.
	Propagation corev1.MountPropagationMode
	// Mapped: what is there shows its IDs as the pod has them, by itself. Any
	// other mount of a pod with a user namespace has to be made so.
	Mapped bool
	// Relabel: what is there is the pod's, and gets the container's SELinux
	// label.
	Relabel bool
}

// Unlimited as a limit takes one away that is there.
const Unlimited = -1

// Resources in the units of the kernel; zero means unset: what is there stays.
type Resources struct {
	// CPUShares as in cgroup v1 (2 to 262144).
	CPUShares uint64
	// CPUQuota and CPUPeriod in microseconds.
	CPUQuota  int64
	CPUPeriod uint64
	// MemoryLimit in bytes.
	MemoryLimit int64
	// MemoryHigh is where the kernel begins to throttle; MemoryMin is what it
	// never reclaims, MemoryLow what it reclaims last. They are in bytes and
	// exist on cgroup v2 alone.
	MemoryHigh, MemoryMin, MemoryLow int64
	// PIDsLimit is how many processes and threads there may be.
	PIDsLimit int64
	// HugePages are bytes by the size of the pages. A container or pod that is
	// made gets none of the sizes that are not here; one that is resized keeps
	// what it has.
	HugePages map[int64]int64
}

// Clock tells the time; loops take it so that tests can script it.
type Clock func() time.Time
