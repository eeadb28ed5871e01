package daemonset

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// The labels of a pod that tell of which template it is.
const (
	hashLabel       = appsv1.DefaultDaemonSetUniqueLabelKey
	generationLabel = "pod-template-generation"
)

func generationOf(set *appsv1.DaemonSet) string {
	if text, ok := set.Annotations[appsv1.DeprecatedTemplateGeneration]; ok {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return strconv.FormatInt(n, 10)
		}
	}
	return "1"
}

// A pod that failed is replaced after a wait that doubles each time.
const (
	waitFirst = time.Second
	waitMost  = 15 * time.Minute
)

// Failures remembers, by node, the pods that were removed because they had
// failed. The loop keeps it; losing it shortens a wait.
type Failures map[string]Failure

// Failure is the last removal on a node, and how long to wait from then on.
type Failure struct {
	At   time.Time
	Wait time.Duration
}

// Input is one look at a set that has defaults.
type Input struct {
	Set *appsv1.DaemonSet
	// Pods are all that it controls, leaving ones included.
	Pods  []*corev1.Pod
	Nodes []*corev1.Node
	// Hash names the set's template in the labels of pods.
	Hash     string
	Failures Failures
	Now      time.Time
}

// Plan is what to do next.
type Plan struct {
	Create   []*corev1.Pod
	Delete   []*corev1.Pod
	Status   appsv1.DaemonSetStatus
	Events   []workload.Event
	Failures Failures
	// After is when to decide again although nothing changed; 0: never.
	After time.Duration
}

// fit is whether a pod should be on a node, and whether one may stay there.
type fit struct{ run, stay bool }

// plan is one in the making.
type plan struct {
	Input
	Plan
	fits   map[string]fit
	byNode map[string][]*corev1.Pod
	// desired is on how many nodes a pod should be.
	desired int
}

// Decide is pure.
func Decide(in Input) Plan {
	p := &plan{Input: in, fits: map[string]fit{}, byNode: map[string][]*corev1.Pod{}}
	p.Plan.Failures = maps.Clone(in.Failures)
	if p.Plan.Failures == nil {
		p.Plan.Failures = Failures{}
	}
	place := placeOf(in.Set)
	for _, n := range in.Nodes {
		run, stay := place.suits(n)
		p.fits[n.Name] = fit{run, stay}
	}
	for _, pod := range in.Pods {
		p.byNode[nodeOf(pod)] = append(p.byNode[nodeOf(pod)], pod)
	}
	for _, pods := range p.byNode {
		slices.SortFunc(pods, older)
	}
	p.count()
	if in.Set.DeletionTimestamp == nil {
		for _, n := range in.Nodes {
			p.manage(n)
		}
		p.nodeless()
		if len(p.Create)+len(p.Delete) == 0 && in.Set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
			p.roll()
		}
	}
	return p.Plan
}

// older puts scheduled pods first, then those that were made earlier.
func older(a, b *corev1.Pod) int {
	scheduled := func(p *corev1.Pod) int {
		if p.Spec.NodeName != "" {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(scheduled(a), scheduled(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// count fills in the status.
func (p *plan) count() {
	s := &p.Status
	s.CollisionCount, s.Conditions, s.ObservedGeneration = p.Set.Status.CollisionCount, p.Set.Status.Conditions, p.Set.Generation
	for _, n := range p.Nodes {
		pods := p.byNode[n.Name]
		switch run := p.fits[n.Name].run; {
		case !run && len(pods) > 0:
			s.NumberMisscheduled++
		case run:
			s.DesiredNumberScheduled++
			if len(pods) > 0 {
				p.countPod(pods[0])
			}
		}
	}
	s.NumberUnavailable = s.DesiredNumberScheduled - s.NumberAvailable
	p.desired = int(s.DesiredNumberScheduled)
}

func (p *plan) countPod(pod *corev1.Pod) {
	p.Status.CurrentNumberScheduled++
	if workload.Ready(pod) {
		p.Status.NumberReady++
	}
	if p.available(pod) {
		p.Status.NumberAvailable++
	}
	if p.updated(pod) {
		p.Status.UpdatedNumberScheduled++
	}
}

func (p *plan) updated(pod *corev1.Pod) bool { return pod.Labels[hashLabel] == p.Hash }

func (p *plan) available(pod *corev1.Pod) bool {
	ok, wait := workload.Available(pod, p.Set.Spec.MinReadySeconds, p.Now)
	p.After = workload.Sooner(p.After, wait)
	return ok
}

func (p *plan) create(node string) { p.Create = append(p.Create, newPod(p.Set, node, p.Hash)) }

func (p *plan) remove(pods ...*corev1.Pod) { p.Delete = append(p.Delete, pods...) }

// manage keeps one pod on a node that should have one, two while a rollout
// surges, and none elsewhere.
func (p *plan) manage(node *corev1.Node) {
	fits, pods := p.fits[node.Name], p.byNode[node.Name]
	switch {
	case fits.run && len(pods) == 0:
		p.create(node.Name)
		return
	case !fits.stay:
		p.remove(present(pods)...)
		return
	}
	live := p.bury(node.Name, pods)
	surge, _ := p.limits()
	switch {
	case surge == 0:
		if len(live) > 1 {
			p.remove(live[1:]...)
		}
	case len(live) == 0 && fits.run:
		p.create(node.Name)
	case len(live) > 1:
		p.thin(live)
	}
}

// present are the pods that are not on their way out.
func present(pods []*corev1.Pod) []*corev1.Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

// bury removes the pods that have ended, and returns the others.
func (p *plan) bury(node string, pods []*corev1.Pod) []*corev1.Pod {
	var live []*corev1.Pod
	for _, pod := range present(pods) {
		where := fmt.Sprintf("daemon pod %s/%s on node %s", pod.Namespace, pod.Name, node)
		switch pod.Status.Phase {
		case corev1.PodFailed:
			f := p.Plan.Failures[node]
			if left := f.At.Add(f.Wait).Sub(p.Now); left > 0 {
				p.After = workload.Sooner(p.After, left)
				continue
			}
			p.Plan.Failures[node] = p.next(f)
			p.Events = append(p.Events, workload.Event{Type: corev1.EventTypeWarning, Reason: "FailedDaemonPod", Message: "Found failed " + where + ", will try to kill it"})
			p.remove(pod)
		case corev1.PodSucceeded:
			p.Events = append(p.Events, workload.Event{Type: corev1.EventTypeNormal, Reason: "SucceededDaemonPod", Message: "Found succeeded " + where + ", will try to delete it"})
			p.remove(pod)
		default:
			live = append(live, pod)
		}
	}
	return live
}

// next is the wait after one more failure. Twice the longest wait without one
// makes a new start.
func (p *plan) next(f Failure) Failure {
	if f.Wait == 0 || p.Now.Sub(f.At) > 2*waitMost {
		return Failure{At: p.Now, Wait: waitFirst}
	}
	return Failure{At: p.Now, Wait: min(2*f.Wait, waitMost)}
}

// thin leaves the oldest new pod and, as long as that is not available and the
// old one serves, the oldest old one.
func (p *plan) thin(live []*corev1.Pod) {
	var fresh, old *corev1.Pod
	for _, pod := range live {
		slot := &old
		if p.updated(pod) {
			slot = &fresh
		}
		if *slot == nil {
			*slot = pod
		} else {
			p.remove(pod)
		}
	}
	if fresh != nil && old != nil && (!workload.Ready(old) || p.available(fresh)) {
		p.remove(old)
	}
}

// nodeless removes pods that wait for a node which is no more.
func (p *plan) nodeless() {
	for _, node := range slices.Sorted(maps.Keys(p.byNode)) {
		for _, pod := range present(p.byNode[node]) {
			if _, known := p.fits[node]; !known && pod.Spec.NodeName == "" {
				p.remove(pod)
			}
		}
	}
}

// limits are how many nodes may have a second pod, and how many none that is
// available.
func (p *plan) limits() (surge, unavailable int) {
	r := p.Set.Spec.UpdateStrategy.RollingUpdate
	if p.Set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType || r == nil {
		return 0, 0
	}
	share := func(v *intstr.IntOrString) int {
		if v == nil {
			return 0
		}
		n, err := intstr.GetScaledValueFromIntOrPercent(v, p.desired, true)
		if err != nil {
			return 0
		}
		return n
	}
	surge, unavailable = share(r.MaxSurge), share(r.MaxUnavailable)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}
