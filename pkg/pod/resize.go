package pod

import (
	"cmp"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// demands are what of a container's resources reaches its process, in
// thousandths of a CPU and bytes; zero: none.
type demands struct {
	cpuRequest, cpuLimit, memoryRequest, memoryLimit int64
}

// demandsOf are those of a container in a pod with these resources of its own.
func demandsOf(r, whole *corev1.ResourceRequirements) demands {
	limit := func(name corev1.ResourceName) resource.Quantity {
		q := r.Limits[name]
		if q.IsZero() && whole != nil {
			q = whole.Limits[name]
		}
		return q
	}
	cpu, memory := limit(corev1.ResourceCPU), limit(corev1.ResourceMemory)
	return demands{
		cpuRequest: r.Requests.Cpu().MilliValue(), cpuLimit: cpu.MilliValue(),
		memoryRequest: r.Requests.Memory().Value(), memoryLimit: memory.Value(),
	}
}

// runsWith is what an attempt was given. Of one that an older carob made, the
// status tells, and before there is one it has what it is granted.
func (u *unit) runsWith(p *corev1.Pod, a *Attempt) (own corev1.ResourceRequirements, whole *corev1.ResourceRequirements) {
	if a.Applied != "" {
		had := parseApplied(a.Applied)
		return corev1.ResourceRequirements{Limits: had.Limits, Requests: had.Requests}, had.Pod
	}
	if u.prev != nil && u.prev.Resources != nil {
		return *u.prev.Resources, podLevel(p)
	}
	return u.c.Resources, podLevel(p)
}

// outgrown says whether an attempt runs with other resources than its container
// is granted, and whether its resize policy wants another attempt for that. An
// init container never begins anew for it.
func (v *view) outgrown(u *unit, a *Attempt) (differs, restart bool) {
	own, whole := u.runsWith(v.pod, a)
	is, want := demandsOf(&own, whole), demandsOf(&u.c.Resources, podLevel(v.pod))
	cpu := is.cpuRequest != want.cpuRequest || is.cpuLimit != want.cpuLimit
	memory := is.memoryRequest != want.memoryRequest || is.memoryLimit != want.memoryLimit
	for _, p := range u.c.ResizePolicy {
		if p.RestartPolicy == corev1.RestartContainer {
			restart = restart || p.ResourceName == corev1.ResourceCPU && cpu || p.ResourceName == corev1.ResourceMemory && memory
		}
	}
	// What the pod sets for all of them goes with each attempt too.
	text := a.Applied != "" && a.Applied != AppliedFor(v.pod, u.c)
	return cpu || memory || text, restart && !u.init && !u.ephemeral
}

// resizes yields the containers whose live attempt runs with other resources
// than granted.
func (v *view) resizes(yield func(*unit) bool) {
	for _, units := range [...][]*unit{v.inits, v.apps} {
		for _, u := range units {
			if u.live == nil {
				continue
			}
			if differs, _ := v.outgrown(u, u.live); differs && !yield(u) {
				return
			}
		}
	}
}

// resizing says whether something that runs has to get other resources yet.
func (v *view) resizing() bool {
	for range v.resizes {
		return true
	}
	return v.inFlight(StepResize) || v.podOutgrown()
}

// podOutgrown says whether the kernel keeps other limits for the pod than it is
// granted.
func (v *view) podOutgrown() bool {
	is, known := v.o.Limits[""]
	return known && v.whole && !SameLimits(is, PodResources(v.pod))
}

// resize asks for the resize of what runs in place. Attempts that have to be
// replaced for it are stopped by advance.
func (pl *planner) resize() {
	wanted := pl.podOutgrown()
	for u := range pl.resizes {
		_, restart := pl.outgrown(u, u.live)
		wanted = wanted || !restart
	}
	if wanted && !pl.inFlight(StepCreateSandbox, StepRemoveSandbox, StepCreateContainer) {
		pl.add(Step{Kind: StepResize})
	}
}

// restartsFor says whether an attempt has to be replaced to get other
// resources.
func (v *view) restartsFor(u *unit, a *Attempt) bool {
	_, restart := v.outgrown(u, a)
	return restart
}

func resizeMessage(c *corev1.Container) string {
	return fmt.Sprintf("Container %s resize requires restart", c.Name)
}

// InPlace names the containers whose live attempt is to get other resources as
// it runs, and those attempts.
func InPlace(p *corev1.Pod, o Observed, now time.Time) map[string]Attempt {
	v := look(p, o, now)
	out := map[string]Attempt{}
	for u := range v.resizes {
		if _, restart := v.outgrown(u, u.live); !restart {
			out[u.c.Name] = *u.live
		}
	}
	return out
}

// Tolerances of SameLimits: the kernel cuts memory to pages, and systemd rounds
// quotas up to whole percents.
const (
	largestPage  = 64 << 10
	quotaPercent = cpuPeriod / 100
)

// SameLimits says whether the kernel's limits are the wanted ones. Unset ones
// and Unlimited are the same here.
func SameLimits(is, want Resources) bool {
	return sameMemory(is.MemoryLimit, want.MemoryLimit) && sameQuota(is, want) &&
		(is.CPUShares == 0 || sameShares(is.CPUShares, want.CPUShares))
}

func sameMemory(is, want int64) bool {
	is, want = max(is, 0), max(want, 0)
	if is == 0 || want == 0 {
		return is == want
	}
	return is <= want && want-is < largestPage
}

func sameQuota(is, want Resources) bool {
	a, b := perPeriod(is), perPeriod(want)
	if a == 0 || b == 0 {
		return a == b
	}
	return a >= b && a-b <= quotaPercent
}

// perPeriod is a quota for the period that carob sets; zero: none.
func perPeriod(r Resources) int64 {
	if r.CPUQuota <= 0 || r.CPUPeriod == 0 {
		return max(r.CPUQuota, 0)
	}
	return r.CPUQuota * cpuPeriod / int64(r.CPUPeriod)
}

func sameShares(is, want uint64) bool {
	return is == want || CPUWeight(is) == CPUWeight(want)
}

// CPUWeight maps cpu shares (2 to 262144) to a weight of cgroup v2 (1 to 10000),
// linearly as the Kubernetes enhancement for cgroup v2 defines it.
func CPUWeight(shares uint64) uint64 {
	s := min(max(shares, minShares), maxShares)
	return 1 + ((s-minShares)*9999)/(maxShares-minShares)
}

// Larger returns the larger of two limits in each part: what both a group and
// what lies in it can have while either changes.
func Larger(a, b Resources) Resources {
	out := b
	out.CPUShares = max(a.CPUShares, b.CPUShares)
	if a.MemoryLimit <= 0 || b.MemoryLimit > 0 && a.MemoryLimit > b.MemoryLimit {
		out.MemoryLimit = a.MemoryLimit
	}
	if a.CPUQuota <= 0 || b.CPUQuota > 0 && perPeriod(a) > perPeriod(b) {
		out.CPUQuota, out.CPUPeriod = a.CPUQuota, a.CPUPeriod
	}
	return out
}

// Lifted returns the resources with everything that is unset taken away.
func Lifted(r Resources) Resources {
	if r.MemoryLimit == 0 {
		r.MemoryLimit = Unlimited
	}
	if r.CPUQuota == 0 {
		r.CPUQuota, r.CPUPeriod = Unlimited, cpuPeriod
	}
	r.MemoryHigh = cmp.Or(r.MemoryHigh, Unlimited)
	r.MemoryMin = cmp.Or(r.MemoryMin, Unlimited)
	r.MemoryLow = cmp.Or(r.MemoryLow, Unlimited)
	return r
}
