package scheduler

import corev1 "k8s.io/api/core/v1"

// hostPort is a port that a pod takes on its node.
type hostPort struct {
	protocol corev1.Protocol
	port     int32
	// ip is empty for all addresses of the node.
	ip string
}

// hostPortsOf lists the ports taken by containers that live as long as the pod
// does. Init containers that end give theirs back before anyone could tell.
func hostPortsOf(p *corev1.Pod) []hostPort {
	var out []hostPort
	collect := func(c *corev1.Container) {
		for _, port := range c.Ports {
			if port.HostPort <= 0 {
				continue
			}
			hp := hostPort{protocol: port.Protocol, port: port.HostPort, ip: port.HostIP}
			if hp.protocol == "" {
				hp.protocol = corev1.ProtocolTCP
			}
			if hp.ip == "0.0.0.0" || hp.ip == "::" {
				hp.ip = ""
			}
			out = append(out, hp)
		}
	}
	for i := range p.Spec.Containers {
		collect(&p.Spec.Containers[i])
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			collect(c)
		}
	}
	return out
}

// portKey is a port without the address.
type portKey struct {
	protocol corev1.Protocol
	port     int32
}

// portTable counts, for each port, how many pods hold it on which address.
type portTable map[portKey]map[string]int

// conflicts reports whether want cannot be taken any more: somebody holds the
// port on the same address, or one of the two means all addresses.
func (t portTable) conflicts(want hostPort) bool {
	held := t[portKey{want.protocol, want.port}]
	if len(held) == 0 {
		return false
	}
	return want.ip == "" || held[""] > 0 || held[want.ip] > 0
}

func (t portTable) take(hp hostPort) {
	k := portKey{hp.protocol, hp.port}
	if t[k] == nil {
		t[k] = map[string]int{}
	}
	t[k][hp.ip]++
}

func (t portTable) release(hp hostPort) {
	k := portKey{hp.protocol, hp.port}
	if t[k][hp.ip]--; t[k][hp.ip] <= 0 {
		delete(t[k], hp.ip)
	}
	if len(t[k]) == 0 {
		delete(t, k)
	}
}
