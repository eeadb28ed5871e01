package agent

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/carob-project/carob/pkg/pod"
)

// Admit says whether a node that runs the admitted pods can take p too, and
// returns why not, or nil. The scheduler asks the same beforehand; a pod whose
// nodeName was set by its author has not been asked.
func Admit(p *corev1.Pod, admitted []*corev1.Pod, allocatable corev1.ResourceList) *pod.Eviction {
	if why := pod.ForbiddenSysctl(p); why != "" {
		return rejected("SysctlForbidden", why)
	}
	if ev := admitResources(p, admitted, allocatable); ev != nil {
		return ev
	}
	mine := hostPorts(p)
	for _, other := range admitted {
		for _, theirs := range hostPorts(other) {
			for _, m := range mine {
				if m.conflicts(theirs) {
					return rejected("NodePorts", fmt.Sprintf(
						"host port %s is used by pod %s/%s", m, other.Namespace, other.Name))
				}
			}
		}
	}
	return nil
}

func rejected(reason, message string) *pod.Eviction {
	return &pod.Eviction{Reason: reason, Message: "Pod was rejected: " + message}
}

func admitResources(p *corev1.Pod, admitted []*corev1.Pod, allocatable corev1.ResourceList) *pod.Eviction {
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
		return rejected("OutOf"+string(name), fmt.Sprintf(
			"Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
			name, amount(name, &want), amount(name, &inUse), amount(name, &has)))
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

func (h hostPort) String() string {
	if h.any() {
		return fmt.Sprintf("%d/%s", h.port, h.protocol)
	}
	return fmt.Sprintf("%s:%d/%s", h.ip, h.port, h.protocol)
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
