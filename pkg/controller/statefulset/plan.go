package statefulset

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/workload"
)

func controllerKind() schema.GroupVersionKind {
	return appsv1.SchemeGroupVersion.WithKind("StatefulSet")
}

// Revision is one state of the template.
type Revision struct {
	Name     string
	Template corev1.PodTemplateSpec
}

// Plan are the next writes, and the status that the pods give now.
type Plan struct {
	Create, Delete, Relabel []*corev1.Pod
	Status                  appsv1.StatefulSetStatus
	// After is when to look again though nothing has happened; 0 is never.
	After time.Duration
}

// Ordinal returns the number at the end of the pod's name if the rest is the
// set's, else -1.
func Ordinal(set, name string) int {
	text, ok := strings.CutPrefix(name, set+"-")
	n, err := strconv.ParseInt(text, 10, 32)
	if !ok || err != nil || n < 0 || strconv.FormatInt(n, 10) != text {
		return -1
	}
	return int(n)
}

type planner struct {
	set             *appsv1.StatefulSet
	current, update Revision
	now             time.Time
	start           int
	// replicas are the pods by their place, nil where there is none; condemned
	// have other ordinals, the highest first.
	replicas, condemned []*corev1.Pod
	firstUnavailable    *corev1.Pod
	plan                Plan
}

// Decide returns what to do next. All pods belong to the set.
func Decide(set *appsv1.StatefulSet, pods []*corev1.Pod, current, update Revision, collisions *int32, now time.Time) Plan {
	p := &planner{set: set, current: current, update: update, now: now, replicas: make([]*corev1.Pod, ptr.Deref(set.Spec.Replicas, 0))}
	if set.Spec.Ordinals != nil {
		p.start = int(set.Spec.Ordinals.Start)
	}
	for _, pod := range pods {
		switch n := Ordinal(set.Name, pod.Name); {
		case n >= p.start && n < p.start+len(p.replicas):
			p.replicas[n-p.start] = pod
		case n >= 0:
			p.condemned = append(p.condemned, pod)
		}
	}
	slices.SortFunc(p.condemned, func(a, b *corev1.Pod) int { return Ordinal(set.Name, b.Name) - Ordinal(set.Name, a.Name) })
	p.status(pods, collisions)
	if set.DeletionTimestamp == nil {
		p.findUnavailable()
		if !p.fill() && !p.shrink() {
			p.renew()
		}
	}
	p.complete()
	return p.plan
}

func (p *planner) ordered() bool {
	return p.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
}

func (p *planner) available(pod *corev1.Pod) bool {
	if pod == nil || pod.Status.Phase != corev1.PodRunning {
		return false
	}
	ok, wait := workload.Available(pod, p.set.Spec.MinReadySeconds, p.now)
	p.plan.After = workload.Sooner(p.plan.After, wait)
	return ok
}

func (p *planner) unavailable(pod *corev1.Pod) bool {
	return !p.available(pod) || pod.DeletionTimestamp != nil
}

func revisionOf(pod *corev1.Pod) string { return pod.Labels[appsv1.ControllerRevisionHashLabelKey] }

// status counts the pods as they are.
func (p *planner) status(pods []*corev1.Pod, collisions *int32) {
	s := &p.plan.Status
	*s = appsv1.StatefulSetStatus{
		ObservedGeneration: p.set.Generation, CurrentRevision: p.current.Name, UpdateRevision: p.update.Name,
		CollisionCount: ptr.To(ptr.Deref(collisions, 0)), Conditions: slices.Clone(p.set.Status.Conditions),
	}
	for _, pod := range pods {
		if Ordinal(p.set.Name, pod.Name) < 0 || pod.Status.Phase == "" {
			continue
		}
		s.Replicas++
		if pod.Status.Phase == corev1.PodRunning && workload.Ready(pod) {
			s.ReadyReplicas++
			if p.available(pod) {
				s.AvailableReplicas++
			}
		}
		if pod.DeletionTimestamp != nil {
			continue
		}
		if revisionOf(pod) == p.current.Name {
			s.CurrentReplicas++
		}
		if revisionOf(pod) == p.update.Name {
			s.UpdatedReplicas++
		}
	}
}

func (p *planner) findUnavailable() {
	for _, pod := range p.replicas {
		if p.unavailable(pod) {
			p.firstUnavailable = pod
			return
		}
	}
	for _, pod := range slices.Backward(p.condemned) {
		if p.unavailable(pod) {
			p.firstUnavailable = pod
			return
		}
	}
}

// fill sees to it that every place has its pod. In order, a pod waits for all
// before it; true means that nothing else may be done now.
func (p *planner) fill() bool {
	for i, pod := range p.replicas {
		switch {
		case pod == nil:
			p.plan.Create = append(p.plan.Create, p.newPod(p.start+i))
		case workload.Terminated(pod):
			if pod.DeletionTimestamp == nil {
				p.plan.Delete = append(p.plan.Delete, pod)
			}
		case p.ordered() && p.unavailable(pod):
			if p.left(pod) {
				p.plan.Delete = append(p.plan.Delete, pod)
			}
			return true
		default:
			if pod.DeletionTimestamp == nil && pod.Labels[appsv1.StatefulSetPodNameLabel] != pod.Name {
				p.plan.Relabel = append(p.plan.Relabel, identified(pod, p.start+i))
			}
			continue
		}
		if p.ordered() {
			return true
		}
	}
	return false
}

// left says whether a pod is of a revision that the set has turned from before
// all pods had it: in a set that returns of itself, it need not become available
// before it goes.
func (p *planner) left(pod *corev1.Pod) bool {
	return returns(p.set) && pod.DeletionTimestamp == nil &&
		revisionOf(pod) != p.update.Name && revisionOf(pod) != p.current.Name
}

// shrink deletes pods that have no place, the highest first; in order, only
// one at a time and when all others are well.
func (p *planner) shrink() bool {
	for _, pod := range p.condemned {
		if !p.ordered() {
			if pod.DeletionTimestamp == nil {
				p.plan.Delete = append(p.plan.Delete, pod)
			}
			continue
		}
		if pod.DeletionTimestamp == nil && (!p.unavailable(pod) || pod == p.firstUnavailable) {
			p.plan.Delete = append(p.plan.Delete, pod)
		}
		return true
	}
	return !p.ordered() && len(p.plan.Create)+len(p.plan.Delete) > 0
}

// renew deletes pods of other revisions, the highest first, down to the
// partition, and never so many that more than allowed are unavailable.
func (p *planner) renew() {
	u := &p.set.Spec.UpdateStrategy
	if u.Type != appsv1.RollingUpdateStatefulSetStrategyType {
		return
	}
	least, most := 0, 1
	if r := u.RollingUpdate; r != nil {
		least = int(ptr.Deref(r.Partition, 0))
		n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(r.MaxUnavailable, intstr.FromInt32(1)), len(p.replicas), false)
		if err == nil {
			most = max(1, n)
		}
	}
	budget := most
	for _, pod := range p.replicas {
		if p.unavailable(pod) {
			budget--
		}
	}
	for i := len(p.replicas) - 1; i >= least; i-- {
		pod := p.replicas[i]
		if revisionOf(pod) == p.update.Name || pod.DeletionTimestamp != nil {
			continue
		}
		// One that does not work anyway costs nothing.
		free := !p.ordered() && p.unavailable(pod)
		if !free && budget <= 0 {
			continue
		}
		if !free {
			budget--
		}
		p.plan.Delete = append(p.plan.Delete, pod)
		if revisionOf(pod) == p.current.Name {
			p.plan.Status.CurrentReplicas--
		}
	}
}

// complete makes the update the current revision when all pods have it.
func (p *planner) complete() {
	s, want := &p.plan.Status, int32(len(p.replicas))
	if p.set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType &&
		s.UpdatedReplicas == want && s.ReadyReplicas == want && s.Replicas == want {
		s.CurrentReplicas, s.CurrentRevision = s.UpdatedReplicas, s.UpdateRevision
	}
}

// newPod returns the pod of an ordinal, of the revision that it should have.
func (p *planner) newPod(ordinal int) *corev1.Pod {
	revision := p.update
	if u := p.set.Spec.UpdateStrategy; u.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		old := int(p.set.Status.CurrentReplicas)
		if u.RollingUpdate != nil {
			old = int(ptr.Deref(u.RollingUpdate.Partition, 0))
		}
		if ordinal < p.start+old {
			revision = p.current
		}
	}
	pod := workload.FromTemplate(&revision.Template, *metav1.NewControllerRef(p.set, controllerKind()))
	pod.Namespace, pod.Name, pod.GenerateName = p.set.Namespace, p.set.Name+"-"+strconv.Itoa(ordinal), p.set.Name+"-"
	pod = identified(pod, ordinal)
	pod.Labels[appsv1.ControllerRevisionHashLabelKey] = revision.Name
	pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, p.set.Spec.ServiceName
	withClaims(p.set, pod, ordinal)
	return pod
}

// identified returns the pod with the labels that name it.
func identified(pod *corev1.Pod, ordinal int) *corev1.Pod {
	pod = pod.DeepCopy()
	labels := maps.Clone(pod.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[appsv1.StatefulSetPodNameLabel] = pod.Name
	labels[appsv1.PodIndexLabel] = strconv.Itoa(ordinal)
	pod.Labels = labels
	return pod
}
