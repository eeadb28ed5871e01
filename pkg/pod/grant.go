package pod

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
)

// Grant is which resources a node has granted a pod. It lags behind the spec
// while a resize waits for room; everything the node does follows the grant.
type Grant struct {
	// Pod is what the pod sets for all its containers together; nil: nothing.
	Pod *corev1.ResourceRequirements
	// Containers is by name, init containers included.
	Containers map[string]corev1.ResourceRequirements
}

// GrantOf returns the grant that gives a pod all its spec asks for.
func GrantOf(p *corev1.Pod) Grant {
	g := Grant{Pod: p.Spec.Resources.DeepCopy(), Containers: map[string]corev1.ResourceRequirements{}}
	for c := range containers(p) {
		g.Containers[c.Name] = *c.Resources.DeepCopy()
	}
	return g
}

// Equal says whether both grant the same amounts.
func (g Grant) Equal(o Grant) bool {
	return apiequality.Semantic.DeepEqual(g.Pod, o.Pod) && apiequality.Semantic.DeepEqual(g.Containers, o.Containers)
}

// Apply returns the pod with what it was granted as its spec. It is p itself
// where that is the same, and shares with p what does not differ.
func (g Grant) Apply(p *corev1.Pod) *corev1.Pod {
	if g.Equal(GrantOf(p)) {
		return p
	}
	q := *p
	q.Spec.Resources = g.Pod.DeepCopy()
	q.Spec.Containers = g.apply(p.Spec.Containers)
	q.Spec.InitContainers = g.apply(p.Spec.InitContainers)
	return &q
}

func (g Grant) apply(l []corev1.Container) []corev1.Container {
	out := append([]corev1.Container(nil), l...)
	for i := range out {
		if r, ok := g.Containers[out[i].Name]; ok {
			out[i].Resources = *r.DeepCopy()
		}
	}
	return out
}

// Granted finds out what an earlier agent granted the pod: what its newest
// attempts run with, and for containers without one what the status says. An
// agent that died after it granted more and before it gave it asks again.
func Granted(p *corev1.Pod, attempts []Attempt) Grant {
	g := GrantOf(p)
	newest := map[string]*Attempt{}
	for i := range attempts {
		a := &attempts[i]
		if n := newest[a.Container]; n == nil || a.Number > n.Number {
			newest[a.Container] = a
		}
	}
	for c := range containers(p) {
		r := c.Resources.DeepCopy()
		if a := newest[c.Name]; a != nil && a.Applied != "" {
			had := parseApplied(a.Applied)
			setResizable(r, had.Limits, had.Requests)
			if had.Pod != nil && p.Spec.Resources != nil {
				g.Pod = p.Spec.Resources.DeepCopy()
				setResizable(g.Pod, had.Pod.Limits, had.Pod.Requests)
			}
		} else if s := reported(p, c.Name); s != nil && s.Resources != nil {
			setResizable(r, s.Resources.Limits, s.Resources.Requests)
		}
		g.Containers[c.Name] = *r
	}
	return g
}

func reported(p *corev1.Pod, name string) *corev1.ContainerStatus {
	if s := statusOf(p.Status.ContainerStatuses, name); s != nil {
		return s
	}
	return statusOf(p.Status.InitContainerStatuses, name)
}

// resizable are the resources that may change while a pod runs.
func resizable() []corev1.ResourceName {
	return []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}
}

// setResizable replaces what can be resized, and leaves the rest.
func setResizable(r *corev1.ResourceRequirements, limits, requests corev1.ResourceList) {
	r.Limits, r.Requests = withResizable(r.Limits, limits), withResizable(r.Requests, requests)
}

func withResizable(list, from corev1.ResourceList) corev1.ResourceList {
	for _, name := range resizable() {
		q, ok := from[name]
		switch {
		case ok && list == nil:
			list = corev1.ResourceList{name: q}
		case ok:
			list[name] = q
		default:
			delete(list, name)
		}
	}
	return list
}

// applied is what an attempt runs with: its container's resources, and those of
// its pod.
type applied struct {
	Limits   corev1.ResourceList          `json:"limits,omitempty"`
	Requests corev1.ResourceList          `json:"requests,omitempty"`
	Pod      *corev1.ResourceRequirements `json:"pod,omitempty"`
}

// AppliedFor writes down what an attempt of the container runs with. It is the
// same text for the same amounts.
func AppliedFor(p *corev1.Pod, c *corev1.Container) string {
	var a applied
	var own corev1.ResourceRequirements
	setResizable(&own, c.Resources.Limits, c.Resources.Requests)
	a.Limits, a.Requests = own.Limits, own.Requests
	if l := podLevel(p); l != nil {
		a.Pod = &corev1.ResourceRequirements{}
		setResizable(a.Pod, l.Limits, l.Requests)
	}
	b, err := json.Marshal(a)
	if err != nil {
		return "" // quantities always marshal
	}
	return string(b)
}

// parseApplied reads back what AppliedFor wrote; nothing where it is not that.
func parseApplied(text string) applied {
	var a applied
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return applied{}
	}
	return a
}
