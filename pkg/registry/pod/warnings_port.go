package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// placedPort is a port and where it was found.
type placedPort struct {
	corev1.ContainerPort
	at *field.Path
}

// portWarnings are about ports of the whole pod, whose containers share one
// network.
func portWarnings(s *corev1.PodSpec, spec *field.Path) []string {
	var out, names []string
	ports, named := map[string][]placedPort{}, map[string]*field.Path{}
	eachContainer(s, spec, func(c *corev1.Container, at *field.Path) {
		for i, p := range c.Ports {
			at := at.Child("ports").Index(i)
			if p.HostIP != "" && p.HostPort == 0 {
				out = append(out, fmt.Sprintf("%s: hostIP set without hostPort: %+v", at, p))
			}
			key := fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol)
			for _, other := range ports[key] {
				if how := portsMeet(&p, &other.ContainerPort); how != "" {
					out = append(out, fmt.Sprintf("%s: %s port definition with %s", at, how, other.at))
				}
			}
			ports[key] = append(ports[key], placedPort{p, at})
			if p.Name == "" {
				continue
			}
			if first, ok := named[p.Name]; ok {
				names = append(names, fmt.Sprintf("%s: duplicate port name %q with %s, services and probes that "+
					"select ports by name will use %s", at, p.Name, first, first))
				continue
			}
			named[p.Name] = at
		}
	})
	return append(out, names...)
}

// portsMeet says how two definitions of one port of the pod collide, if they do.
func portsMeet(a, b *corev1.ContainerPort) string {
	switch {
	case a.HostIP == b.HostIP && a.HostPort == b.HostPort:
		return "duplicate"
	case a.HostPort == 0 || b.HostPort == 0:
		return "overlapping"
	case a.HostPort == b.HostPort && (a.HostIP == "") != (b.HostIP == ""):
		return "dangerously ambiguous"
	}
	return ""
}
