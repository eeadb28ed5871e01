package agent

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/eviction"
	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/usage"
)

// LogKey names what one attempt writes.
type LogKey struct {
	Pod       pod.Ref
	Container string
	Number    int
}

// Logs carries what attempts write from their pipes into log files. Every
// method is idempotent and safe for concurrent use.
type Logs interface {
	// Open makes the attempt's pipes where they do not exist, begins to copy
	// from them, and returns their paths. It is called before the attempt is
	// made, and again after a restart of the agent.
	Open(ctx context.Context, k LogKey) (stdout, stderr string, err error)
	// Finish returns when everything the ended attempt wrote is in its log
	// and the pipes are closed and removed; when ctx ends first it closes
	// them at once. An attempt that is not being copied is no error.
	Finish(ctx context.Context, k LogKey) error
	// Remove removes the attempt's log.
	Remove(ctx context.Context, k LogKey) error
	// Drop does as Finish for whatever is still copied of a pod that is gone.
	Drop(ctx context.Context, uid types.UID) error
}

// Messages reads termination messages.
type Messages interface {
	// TerminationMessage returns the content of the attempt's termination
	// message file, cut to Kubernetes' limit; none: an empty string.
	TerminationMessage(ctx context.Context, k LogKey) (string, error)
}

// VolumeView tells which pods have something on the disk.
type VolumeView interface {
	// Present says whether the pod has a directory, volumes or logs.
	Present(uid types.UID) (bool, error)
	// List returns the UIDs of all pods that have.
	List() ([]types.UID, error)
}

// DiskMeter measures what pods take of the node's disk.
type DiskMeter interface {
	// VolumeUse returns what the pod's volumes on the disk take, by name.
	VolumeUse(ctx context.Context, p *corev1.Pod) (map[string]eviction.Disk, error)
	// LogUse returns what the logs of a container take, the rotated ones
	// included.
	LogUse(ctx context.Context, p *corev1.Pod, container string) (eviction.Disk, error)
	// LayerUse returns what an attempt has written into its file system;
	// pod.ErrNotFound where it is gone.
	LayerUse(ctx context.Context, attempt string) (eviction.Disk, error)
	// ImageDisk reads the disk of images and the containers' file systems.
	ImageDisk(ctx context.Context) (eviction.FileSystem, error)
}

// Bounds holds all pods of the node together to what they may use.
type Bounds interface {
	// Name is that of the group of all pods.
	Name() string
	// Bound sets the limits of all pods together, also for the time when
	// there is none yet.
	Bound(r pod.Resources) error
	// PodsMemory is the working set of all pods in bytes.
	PodsMemory() (int64, error)
	// PodUse is the working set of one pod in bytes, and its number of
	// processes and threads.
	PodUse(p *corev1.Pod) (memory, processes int64, err error)
}

// ImageStore has the images of the node.
type ImageStore interface {
	// StoredImages lists them, and notes down which are in use now.
	StoredImages(ctx context.Context) ([]eviction.StoredImage, error)
	// RemoveImage removes one by its name; one in use is an error.
	RemoveImage(ctx context.Context, name string) error
}

// Meter reads what is used.
type Meter interface {
	// NodeUsage reads the machine's counters.
	NodeUsage(ctx context.Context) (usage.Counters, error)
	// ContainerUsage reads those of an attempt of the pod that runs, by its
	// ID.
	ContainerUsage(p *corev1.Pod, id string) (usage.Counters, error)
}

// Resizer gives attempts that run other resources.
type Resizer interface {
	// SetResources changes a live attempt's resources, and with success what
	// its Applied and SpecHash say. One that has ended or is unknown gives an
	// error that wraps pod.ErrNotFound.
	SetResources(ctx context.Context, id string, r pod.Resources, specHash, applied string) error
}

// Groups sets and reads the limits that the kernel keeps.
type Groups interface {
	// ResizePod sets those of a pod's group.
	ResizePod(ctx context.Context, p *corev1.Pod, r pod.Resources) error
	// PodLimits reads them.
	PodLimits(p *corev1.Pod) (pod.Resources, error)
	// ContainerLimits reads those of an attempt of the pod that runs.
	ContainerLimits(p *corev1.Pod, id string) (pod.Resources, error)
	// MemoryUsage is how many bytes the pod uses or, with an ID, one attempt.
	MemoryUsage(p *corev1.Pod, id string) (int64, error)
}

// ImageLister lists the images on the node.
type ImageLister interface {
	ListImages(ctx context.Context) ([]pod.Image, error)
}

// Health says whether a part that pods need works.
type Health interface {
	// Check returns nil, or an error whose text tells what is wrong.
	Check(ctx context.Context) error
}

// Collector removes what belongs to no pod.
type Collector interface {
	// GC removes what it knows of pods that are not wanted. wanted may be
	// called from any goroutine.
	GC(ctx context.Context, wanted func(types.UID) bool) error
}

// envFiles is what Volumes may have beside its contract, to read files that
// variables come from.
type envFiles interface {
	EnvFile(uid types.UID, ref pod.FileRef) pod.EnvFile
}

// attemptFiles is what Volumes may have beside its contract, to remove what it
// made for one attempt, such as its termination message file.
type attemptFiles interface {
	RemoveAttempt(uid types.UID, container string, attempt int) error
}
