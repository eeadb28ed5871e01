package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/carob-project/carob/pkg/pod"
)

// resizeRetry is how often a resize that waits for room is tried again though
// nothing was seen to change.
const resizeRetry = 3 * time.Minute

// granted is what a worker's pod is granted of what its spec asks for. It is
// guarded by the agent's mu, as one pod's grant is what others lack.
type granted struct {
	grant  pod.Grant
	resize pod.Resize
	// since is when the pending resize began to wait.
	since time.Time
	// done is the generation whose resize was told to be complete.
	done int64
}

// allot returns the pod with the resources that it is granted, after an attempt
// to grant what its spec asks for.
func (a *Agent) allot(w *worker, p *corev1.Pod) (*corev1.Pod, pod.Resize) {
	a.mu.Lock()
	more, freed := a.grant(w, p)
	g, r := w.granted.grant, w.granted.resize
	a.mu.Unlock()
	more()
	if freed {
		a.retryResizes()
	}
	return g.Apply(p), r
}

// grant gives a pod what its spec asks for, where the node has it. It returns
// what is to be said about that, and whether others can have more now. The
// caller holds mu.
func (a *Agent) grant(w *worker, p *corev1.Pod) (say func(), freed bool) {
	say = func() {}
	want := pod.GrantOf(p)
	if want.Equal(w.granted.grant) {
		w.granted.resize.Pending = nil
		return say, false
	}
	if a.admitted[p.UID] == nil || p.DeletionTimestamp != nil || !a.settled {
		return say, false
	}
	before := resourcehelper.PodRequests(w.granted.grant.Apply(p), resourcehelper.PodResourcesOptions{})
	why := lacking(p, a.others(p.UID), a.allocatable)
	if why != nil {
		return a.defers(w, p, why), false
	}
	w.granted.grant, w.granted.resize = want, pod.Resize{Generation: p.Generation}
	a.admitted[p.UID] = p
	say = func() {
		w.normal(p, "", reasonResizeStarted, "%s", resizeMessage("Pod resize started", p, p.Generation, ""))
	}
	after := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
	return say, after.Cpu().Cmp(*before.Cpu()) < 0 || after.Memory().Cmp(*before.Memory()) < 0
}

// defers lets a resize wait. The caller holds mu.
func (a *Agent) defers(w *worker, p *corev1.Pod, why *lack) func() {
	old := w.granted.resize.Pending
	now := &pod.PendingResize{Reason: corev1.PodReasonDeferred, Message: why.message, Generation: p.Generation}
	w.granted.resize.Pending = now
	if old == nil {
		w.granted.since = a.clock()
	}
	if old != nil && old.Generation == now.Generation {
		return func() {}
	}
	return func() {
		w.warning(p, "", reasonResizeDeferred, "%s", resizeMessage("Pod resize "+why.reason, p, p.Generation, why.message))
	}
}

// others are the admitted pods but one, oldest first. The caller holds mu.
func (a *Agent) others(uid types.UID) []*corev1.Pod {
	out := make([]*corev1.Pod, 0, len(a.admitted))
	for _, o := range a.admitted {
		if o.UID != uid {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(x, y *corev1.Pod) int {
		return x.CreationTimestamp.Compare(y.CreationTimestamp.Time)
	})
	return out
}

// retryResizes tries again to grant what waits for room: first what asks for no
// more than it has, then by priority, class, and how long it has waited.
func (a *Agent) retryResizes() {
	type waiting struct {
		w     *worker
		p     *corev1.Pod
		since time.Time
	}
	for freed := true; freed; {
		freed = false
		var say []func()
		a.mu.Lock()
		var all []waiting
		for _, w := range a.workers {
			if w.granted.resize.Pending != nil {
				all = append(all, waiting{w, w.current(), w.granted.since})
			}
		}
		slices.SortFunc(all, func(x, y waiting) int {
			return cmp.Or(resizeOrder(x.p, y.p), x.since.Compare(y.since), cmp.Compare(x.p.UID, y.p.UID))
		})
		for _, x := range all {
			more, less := a.grant(x.w, x.p)
			freed = freed || less
			say = append(say, more, x.w.poke)
		}
		a.mu.Unlock()
		for _, f := range say {
			f()
		}
	}
}

// resizeOrder is whose turn it is of two pods that wait for room.
func resizeOrder(x, y *corev1.Pod) int {
	priority := func(p *corev1.Pod) int32 {
		if p.Spec.Priority == nil {
			return 0
		}
		return *p.Spec.Priority
	}
	class := func(p *corev1.Pod) int { return rank(pod.QOSClass(p) == corev1.PodQOSGuaranteed) }
	return cmp.Or(cmp.Compare(priority(y), priority(x)), cmp.Compare(class(x), class(y)))
}

// current is the API object as it was last seen.
func (w *worker) current() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

// settle ends the start: all pods that were here have their place, so that
// those which ask for more can get it.
func (a *Agent) settle() {
	a.mu.Lock()
	a.settled = true
	a.mu.Unlock()
	for _, w := range a.allWorkers() {
		w.poke()
	}
}

// resizeWait is when a worker whose resize waits looks again.
func resizeWait(r pod.Resize) time.Duration {
	if r.Pending == nil {
		return idleWake
	}
	return resizeRetry
}

// limits reads what the kernel keeps of the limits of what runs.
func (w *worker) limits(p *corev1.Pod, o pod.Observed) map[string]pod.Resources {
	out := map[string]pod.Resources{}
	if o.Sandbox == nil || p.DeletionTimestamp != nil || terminal(p.Status.Phase) {
		return out
	}
	// What cannot be read is not known: it may be ending at this moment.
	if r, err := w.a.o.Groups.PodLimits(p); err == nil {
		out[""] = r
	}
	for _, at := range o.Attempts {
		if at.State != pod.AttemptRunning || at.Container == pod.Holder {
			continue
		}
		if r, err := w.a.o.Groups.ContainerLimits(p, at.ID); err == nil {
			out[at.ID] = r
		}
	}
	return out
}

// resize gives the pod's group and its live attempts the resources that the pod
// is granted. The group is at no time smaller than what lies in it is to be:
// it grows before, and shrinks after. What takes less comes first.
func (w *worker) resize(ctx context.Context, p *corev1.Pod, o pod.Observed) error {
	todo := pod.InPlace(p, o, w.a.clock())
	is, err := w.a.o.Groups.PodLimits(p)
	if err != nil {
		return err
	}
	want := pod.Lifted(pod.PodResources(p))
	if err := w.roomToShrink(p, o, is, want, todo); err != nil {
		return err
	}
	if larger := pod.Larger(is, want); !pod.SameLimits(is, larger) {
		if err := w.a.o.Groups.ResizePod(ctx, p, larger); err != nil {
			return err
		}
	}
	for _, at := range inOrder(p, o, todo) {
		c, _ := pod.FindContainer(p, at.Container)
		err := w.a.o.Resizer.SetResources(ctx, at.ID, w.resourcesFor(p, c), pod.SpecHash(c), pod.AppliedFor(p, c))
		if err != nil && !errors.Is(err, pod.ErrNotFound) {
			return err
		}
	}
	return w.a.o.Groups.ResizePod(ctx, p, want)
}

// resourcesFor are those that a container is resized to, as it would be made.
func (w *worker) resourcesFor(p *corev1.Pod, c *corev1.Container) pod.Resources {
	return w.a.o.MemoryQoS.Container(pod.ResourcesFor(p, c), p, c, w.a.allocatableMemory())
}

// inOrder puts the attempts to resize in order: those whose limits fall first.
func inOrder(p *corev1.Pod, o pod.Observed, todo map[string]pod.Attempt) []pod.Attempt {
	out := make([]pod.Attempt, 0, len(todo))
	for _, at := range todo {
		out = append(out, at)
	}
	falls := func(at pod.Attempt) bool {
		c, _ := pod.FindContainer(p, at.Container)
		is := o.Limits[at.ID]
		return pod.SameLimits(is, pod.Larger(is, pod.Lifted(pod.ResourcesFor(p, c))))
	}
	slices.SortFunc(out, func(x, y pod.Attempt) int {
		return cmp.Or(cmp.Compare(rank(falls(x)), rank(falls(y))), cmp.Compare(x.ID, y.ID))
	})
	return out
}

// roomToShrink refuses memory limits below what is in use: the kernel would
// kill for them, or refuse in the middle of the resize.
func (w *worker) roomToShrink(p *corev1.Pod, o pod.Observed, is, want pod.Resources, todo map[string]pod.Attempt) error {
	lower := func(is, want int64) bool { return want > 0 && (is <= 0 || want < is) }
	var errs []error
	used, err := w.a.o.Groups.MemoryUsage(p, "")
	if err != nil {
		return fmt.Errorf("unable to read memory usage for pod %q: %w", p.Name, err)
	}
	if lower(is.MemoryLimit, want.MemoryLimit) && used >= want.MemoryLimit {
		errs = append(errs, fmt.Errorf("attempting to set pod memory limit (%d) below current usage (%d)", want.MemoryLimit, used))
	}
	for _, at := range inOrder(p, o, todo) {
		c, _ := pod.FindContainer(p, at.Container)
		limit := pod.ResourcesFor(p, c).MemoryLimit
		if !lower(o.Limits[at.ID].MemoryLimit, limit) {
			continue
		}
		if n, err := w.a.o.Groups.MemoryUsage(p, at.ID); err == nil && n >= limit {
			errs = append(errs, fmt.Errorf("attempting to set container %q memory limit (%d) below current usage (%d)", c.Name, limit, n))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("cannot decrease memory limits: %w", aggregate(errs))
}

// growPod makes room in the pod's group for an attempt that is made with more
// than its predecessor had.
func (w *worker) growPod(ctx context.Context, p *corev1.Pod) error {
	is, err := w.a.o.Groups.PodLimits(p)
	if err != nil {
		return err
	}
	if larger := pod.Larger(is, pod.Lifted(pod.PodResources(p))); !pod.SameLimits(is, larger) {
		return w.a.o.Groups.ResizePod(ctx, p, larger)
	}
	return nil
}
