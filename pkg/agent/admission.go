package agent

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
	schedulinghelpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"github.com/carob-project/carob/pkg/pod"
)

// Admit says whether a node that runs the admitted pods can take p too, and
// returns why not, or nil. The scheduler asks the same beforehand; a pod whose
// nodeName was set by its author has not been asked.
// The node may be nil where it cannot be had: what it says is then not looked at.
func Admit(p *corev1.Pod, admitted []*corev1.Pod, node *corev1.Node, allocatable corev1.ResourceList) *pod.Eviction {
	if why := pod.ForbiddenSysctl(p); why != "" {
		return rejected("SysctlForbidden", why)
	}
	if node != nil && !hasOS(p, node) {
		return rejected("PodOSSelectorNodeLabelDoesNotMatch",
			"Failed to admit pod as the `kubernetes.io/os` label doesn't match node label")
	}
	if ev := admitResources(p, admitted, allocatable); ev != nil {
		return ev
	}
	if node != nil {
		if match, err := nodeaffinity.GetRequiredNodeAffinity(p).Match(node); err != nil || !match {
			return failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
		}
	}
	mine := hostPorts(p)
	for _, other := range admitted {
		for _, theirs := range hostPorts(other) {
			for _, m := range mine {
				if m.conflicts(theirs) {
					return failed("NodePorts", "node(s) didn't have free ports for the requested pod ports")
				}
			}
		}
	}
	if node != nil && expels(node, p) {
		return failed("TaintToleration", "node(s) had taints that the pod didn't tolerate")
	}
	return nil
}

func rejected(reason, message string) *pod.Eviction {
	return &pod.Eviction{Reason: reason, Message: pod.Rejected + message}
}

// failed rejects for a check that the scheduler makes, too.
func failed(check, why string) *pod.Eviction {
	return rejected(check, fmt.Sprintf("Predicate %s failed: %s", check, why))
}

// choosesNodes says whether the pod has wishes about the node it runs on.
func choosesNodes(p *corev1.Pod) bool {
	a := p.Spec.Affinity
	return len(p.Spec.NodeSelector) > 0 ||
		a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil
}

// expels says whether the node has a taint that ends pods like this one.
func expels(node *corev1.Node, p *corev1.Pod) bool {
	_, found := schedulinghelpers.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, p.Spec.Tolerations,
		func(t *corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute }, true)
	return found
}

// hasOS says whether the node has the operating system that the pod selects.
func hasOS(p *corev1.Pod, node *corev1.Node) bool {
	want, ok := p.Spec.NodeSelector[corev1.LabelOSStable]
	return !ok || want == node.Labels[corev1.LabelOSStable]
}

func admitResources(p *corev1.Pod, admitted []*corev1.Pod, allocatable corev1.ResourceList) *pod.Eviction {
	if why := lacking(p, admitted, allocatable); why != nil {
		return rejected(why.reason, why.message)
	}
	return nil
}

// lack is what a node has too little of.
type lack struct{ reason, message string }

// lacking says what the node has too little of to run p beside the others; nil:
// nothing.
func lacking(p *corev1.Pod, admitted []*corev1.Pod, allocatable corev1.ResourceList) *lack {
	if len(allocatable) == 0 {
		return nil // the machine could not be read; its pods decide nothing
	}
	need := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
	need[corev1.ResourcePods] = *resource.NewQuantity(1, resource.DecimalSI)
	used := corev1.ResourceList{}
	for _, other := range admitted {
		req := resourcehelper.PodRequests(other, resourcehelper.PodResourcesOptions{})
		req[corev1.ResourcePods] = *resource.NewQuantity(1, resource.DecimalSI)
		for name, q := range req {
			sum := used[name]
			sum.Add(q)
			used[name] = sum
		}
	}
	for _, name := range sortedNames(need) {
		want, has := need[name], allocatable[name]
		if want.IsZero() {
			continue
		}
		total := used[name]
		total.Add(want)
		if total.Cmp(has) <= 0 {
			continue
		}
		inUse := used[name]
		return &lack{"OutOf" + string(name), fmt.Sprintf(
			"Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
			name, amount(name, &want), amount(name, &inUse), amount(name, &has))}
	}
	return nil
}

// sortedNames puts the resources in a fixed order, so that a pod that lacks
// several is always told the same one.
func sortedNames(l corev1.ResourceList) []corev1.ResourceName {
	out := make([]corev1.ResourceName, 0, len(l))
	for name := range l {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// amount is a quantity in the unit that users of Kubernetes expect in these
// messages: thousandths of a CPU, else whole units.
func amount(name corev1.ResourceName, q *resource.Quantity) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

type hostPort struct {
	ip, protocol string
	port         int32
}

func (h hostPort) any() bool { return h.ip == "" || h.ip == "0.0.0.0" || h.ip == "::" }

func (h hostPort) conflicts(o hostPort) bool {
	return h.port == o.port && h.protocol == o.protocol && (h.any() || o.any() || h.ip == o.ip)
}

func hostPorts(p *corev1.Pod) []hostPort {
	var out []hostPort
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if pod.IsInit(p, c.Name) {
			continue // it runs before the others, and its ports are not mapped
		}
		for _, port := range c.Ports {
			if port.HostPort == 0 {
				continue
			}
			out = append(out, hostPort{
				ip: port.HostIP, port: port.HostPort,
				protocol: cmp.Or(string(port.Protocol), string(corev1.ProtocolTCP)),
			})
		}
	}
	return out
}

// admissionOrder sorts the pods found at the start of an agent: those that
// were admitted before it come first, then by age.
func admissionOrder(pods []*corev1.Pod, here func(*corev1.Pod) bool) {
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(
			cmp.Compare(rank(here(a)), rank(here(b))),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Name, b.Name),
		)
	})
}

func rank(first bool) int {
	if first {
		return 0
	}
	return 1
}
