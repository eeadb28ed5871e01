package eviction

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Candidate is a pod of the node.
type Candidate struct {
	Pod *corev1.Pod
	Use PodUse
	// Known says that its use was measured.
	Known bool
}

// Victim is the pod that has to go.
type Victim struct {
	Pod     *corev1.Pod
	Message string
	// Soft says that it has time to end: its own grace period, cut to the
	// node's limit.
	Soft bool
}

// systemCritical is the least priority of pods that are never evicted.
const systemCritical = 2_000_000_000

// Critical says whether the machine depends on the pod.
func Critical(p *corev1.Pod) bool { return priority(p) >= systemCritical }

func priority(p *corev1.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

// Choose returns the pod that ends for the first of the starved thresholds;
// nil: none can.
func Choose(starved []Threshold, obs Observations, disks Disks, pods []Candidate) *Victim {
	if len(starved) == 0 {
		return nil
	}
	first := starved[0]
	for _, c := range Rank(first.Signal, disks, pods) {
		if Critical(c.Pod) {
			continue
		}
		return &Victim{Pod: c.Pod, Soft: first.Soft, Message: message(first.Signal.Resource(), starved, obs, &c)}
	}
	return nil
}

// Rank orders the pods, the one to end first at the front: those of which
// nothing is known, those that use more than they request, those of lower
// priority, those that use the most beyond their request.
func Rank(s Signal, disks Disks, pods []Candidate) []Candidate {
	out := slices.Clone(pods)
	key := func(c *Candidate) (exceeds bool, over int64) {
		used := c.used(s, disks)
		over = used - requested(c.Pod, s.Resource())
		if s.Resource() == resourceInodes {
			// As in Kubernetes: nobody requests inodes, so any use exceeds; and
			// what is compared then has the request of bytes taken off.
			return used > 0, used - requested(c.Pod, corev1.ResourceEphemeralStorage)
		}
		return over > 0 && s != PIDAvailable, over
	}
	slices.SortStableFunc(out, func(a, b Candidate) int {
		if a.Known != b.Known {
			return order(!a.Known, !b.Known)
		}
		ea, oa := key(&a)
		eb, ob := key(&b)
		return cmp.Or(
			order(ea, eb),
			cmp.Compare(priority(a.Pod), priority(b.Pod)),
			cmp.Compare(ob, oa),
			cmp.Compare(a.Pod.Namespace, b.Pod.Namespace),
			cmp.Compare(a.Pod.Name, b.Pod.Name),
			cmp.Compare(a.Pod.UID, b.Pod.UID),
		)
	})
	return out
}

// order puts the one for which it holds first.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// used is the pod's use of what the signal is about.
func (c *Candidate) used(s Signal, disks Disks) int64 {
	if !c.Known {
		return 0
	}
	switch s.Resource() {
	case corev1.ResourceMemory:
		return c.Use.Memory
	case resourcePIDs:
		return c.Use.Processes
	case resourceInodes:
		return c.Use.Disk(disks.Parts(s)).Inodes
	default:
		return c.Use.Disk(disks.Parts(s)).Bytes
	}
}

func requested(p *corev1.Pod, name corev1.ResourceName) int64 {
	q := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})[name]
	return q.Value()
}

// message tells the author of the pod why it ends.
func message(short corev1.ResourceName, starved []Threshold, obs Observations, c *Candidate) string {
	var b strings.Builder
	fmt.Fprintf(&b, "The node was low on resource: %v. ", short)
	for _, t := range starved {
		o, ok := obs[t.Signal]
		if t.Signal.Resource() != short || !ok {
			continue
		}
		limit := t.Value.Of(o.Capacity)
		fmt.Fprintf(&b, "Threshold quantity: %s, available: %s. ", limit.String(), quantity(short, o.Available))
		break
	}
	if !c.Known {
		return b.String()
	}
	if r := c.Pod.Spec.Resources; short == corev1.ResourceMemory && r != nil {
		if request, ok := r.Requests[short]; ok {
			fmt.Fprintf(&b, "Pod %s was using %s, request is %s, has larger consumption of %v. ",
				c.Pod.Name, quantity(short, c.Use.Memory), request.String(), short)
		}
	}
	all := slices.Concat(c.Pod.Spec.Containers, c.Pod.Spec.InitContainers)
	for _, u := range c.Use.Containers {
		i := slices.IndexFunc(all, func(o corev1.Container) bool { return o.Name == u.Name })
		used, ok := u.of(short)
		if i < 0 || !ok {
			continue
		}
		request := all[i].Resources.Requests[short]
		if request.CmpInt64(used) < 0 {
			fmt.Fprintf(&b, "Container %s was using %s, request is %s, has larger consumption of %v. ",
				u.Name, quantity(short, used), request.String(), short)
		}
	}
	return b.String()
}

// of is what messages count of a container's use.
func (u ContainerUse) of(name corev1.ResourceName) (int64, bool) {
	switch name {
	case corev1.ResourceMemory:
		return u.Memory, u.Memory >= 0
	case corev1.ResourceEphemeralStorage:
		return u.Rootfs.Bytes + u.Logs.Bytes, u.DiskKnown
	}
	return 0, false
}

func quantity(of corev1.ResourceName, n int64) string {
	format := resource.BinarySI
	if of == resourceInodes || of == resourcePIDs {
		format = resource.DecimalSI
	}
	return resource.NewQuantity(n, format).String()
}
