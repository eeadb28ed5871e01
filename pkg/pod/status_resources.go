package pod

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// resources are those in a container's status: what it runs with as far as it
// runs, and what it is granted otherwise. They are never nil: that they are
// there tells the API that this node resizes.
func (v *view) resources(u *unit) *corev1.ResourceRequirements {
	r := &corev1.ResourceRequirements{Limits: u.c.Resources.Limits.DeepCopy(), Requests: u.c.Resources.Requests.DeepCopy()}
	if u.live == nil || u.live.State != AttemptRunning || u.ephemeral {
		return r
	}
	own, whole := u.runsWith(v.pod, u.live)
	is := demandsOf(&own, whole)
	if k, known := v.o.Limits[u.live.ID]; known {
		is = corrected(is, k)
	}
	if r.Limits != nil {
		setAmount(r.Limits, corev1.ResourceCPU, is.cpuLimit, own.Limits)
		setAmount(r.Limits, corev1.ResourceMemory, is.memoryLimit, own.Limits)
	}
	if r.Requests != nil {
		setAmount(r.Requests, corev1.ResourceCPU, is.cpuRequest, own.Requests)
		setAmount(r.Requests, corev1.ResourceMemory, is.memoryRequest, own.Requests)
	}
	return r
}

// setAmount writes an amount, in the form in which it was asked for where it is
// that much. Zero leaves what is there.
func setAmount(l corev1.ResourceList, name corev1.ResourceName, n int64, asked corev1.ResourceList) {
	if n <= 0 {
		return
	}
	for _, from := range []corev1.ResourceList{l, asked} {
		if q, ok := from[name]; ok && amountOf(name, q) == n {
			l[name] = q.DeepCopy()
			return
		}
	}
	l[name] = quantityOf(name, n)
}

func amountOf(name corev1.ResourceName, q resource.Quantity) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

func quantityOf(name corev1.ResourceName, n int64) resource.Quantity {
	if name == corev1.ResourceCPU {
		return *resource.NewMilliQuantity(n, resource.DecimalSI)
	}
	return *resource.NewQuantity(n, resource.BinarySI)
}

// corrected are the demands with what the kernel says where that is something
// else: somebody changed the group.
func corrected(d demands, k Resources) demands {
	var want Resources
	want.CPUQuota, want.CPUPeriod = quota(d.cpuLimit)
	if !sameQuota(k, want) {
		d.cpuLimit = perPeriod(k) * 1000 / cpuPeriod
	}
	if !sameMemory(k.MemoryLimit, d.memoryLimit) {
		d.memoryLimit = max(k.MemoryLimit, 0)
	}
	request := d.cpuRequest
	if request == 0 {
		request = d.cpuLimit
	}
	if k.CPUShares > minShares && !sameShares(k.CPUShares, shares(request)) {
		d.cpuRequest = milliOfShares(k.CPUShares)
	}
	return d
}

// milliOfShares is the request that gives these shares.
func milliOfShares(shares uint64) int64 {
	return int64((shares*1000 + sharesPerCPU - 1) / sharesPerCPU)
}

// podResources fills in those of the pod as a whole: once it runs its limits
// are those of its cgroup, and before that the sums of its containers'.
func (v *view) podResources(s *corev1.PodStatus) {
	requests := resourcehelper.PodRequests(v.pod, resourcehelper.PodResourcesOptions{})
	s.AllocatedResources = nil
	if len(requests) > 0 {
		s.AllocatedResources = requests.DeepCopy()
	}
	r := &corev1.ResourceRequirements{
		Requests: requests, Limits: resourcehelper.PodLimits(v.pod, resourcehelper.PodResourcesOptions{}),
	}
	s.Resources = r
	if v.pod.Status.Phase != corev1.PodRunning {
		return
	}
	is, known := v.o.Limits[""]
	want := PodResources(v.pod)
	for name := range r.Limits {
		if own := podLimit(v.pod, name); own.IsZero() && !limited(v.pod, name) {
			delete(r.Limits, name)
		}
	}
	if !known || SameLimits(is, want) {
		return
	}
	if m := perPeriod(is) * 1000 / cpuPeriod; m > 0 && !sameQuota(is, want) {
		setAmount(r.Limits, corev1.ResourceCPU, m, nil)
	}
	if m := is.MemoryLimit; m > 0 && !sameMemory(m, want.MemoryLimit) {
		setAmount(r.Limits, corev1.ResourceMemory, m, nil)
	}
	if is.CPUShares > minShares && !sameShares(is.CPUShares, want.CPUShares) {
		setAmount(r.Requests, corev1.ResourceCPU, milliOfShares(is.CPUShares), nil)
	}
}

// resizeConditions are those of a resize that waits or is being carried out.
func (v *view) resizeConditions() []corev1.PodCondition {
	var out []corev1.PodCondition
	if w := v.o.Resize.Pending; w != nil && !v.terminal() {
		out = append(out, v.resizeCondition(corev1.PodCondition{
			Type: corev1.PodResizePending, Reason: w.Reason, Message: w.Message, ObservedGeneration: w.Generation,
		}))
	}
	if v.end != nil || v.terminal() || !v.resizing() {
		return out
	}
	c := corev1.PodCondition{Type: corev1.PodResizeInProgress, ObservedGeneration: v.pod.Generation}
	if old := v.condition(c.Type); old != nil {
		c.ObservedGeneration = old.ObservedGeneration
		// An error stays until another resize is granted.
		c.Reason, c.Message = old.Reason, old.Message
	}
	if g := v.o.Resize.Generation; g != 0 && g != c.ObservedGeneration {
		c.ObservedGeneration, c.Reason, c.Message = g, "", ""
	}
	if f, failed := v.failure(Step{Kind: StepResize}); failed {
		c.Reason, c.Message = corev1.PodReasonError, f.Message
	}
	return append(out, v.resizeCondition(c))
}

// resizeCondition completes a condition whose time is that of its reason.
func (v *view) resizeCondition(c corev1.PodCondition) corev1.PodCondition {
	c.Status = corev1.ConditionTrue
	c.LastProbeTime, c.LastTransitionTime = apiTime(v.now), apiTime(v.now)
	old := v.condition(c.Type)
	if old == nil {
		return c
	}
	if old.Reason == c.Reason {
		c.LastTransitionTime = old.LastTransitionTime
		if old.Message == c.Message && old.ObservedGeneration == c.ObservedGeneration {
			c.LastProbeTime = old.LastProbeTime
		}
	}
	return c
}

func (v *view) condition(t corev1.PodConditionType) *corev1.PodCondition {
	l := v.pod.Status.Conditions
	if i := slices.IndexFunc(l, func(c corev1.PodCondition) bool { return c.Type == t }); i >= 0 {
		return &l[i]
	}
	return nil
}

// OfResize says whether a condition tells of a resize. It is the node's, and
// goes with the resize.
func OfResize(t corev1.PodConditionType) bool {
	return t == corev1.PodResizePending || t == corev1.PodResizeInProgress
}
