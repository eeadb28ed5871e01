package pod

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// safeSysctls are the kernel settings of a pod that cannot harm another one:
// each belongs to a namespace of the pod, and takes nothing from the node.
func safeSysctls() []string {
	return []string{
		"kernel.shm_rmid_forced",
		"net.ipv4.ip_local_port_range",
		"net.ipv4.ip_local_reserved_ports",
		"net.ipv4.ip_unprivileged_port_start",
		"net.ipv4.ping_group_range",
		"net.ipv4.tcp_fin_timeout",
		"net.ipv4.tcp_keepalive_intvl",
		"net.ipv4.tcp_keepalive_probes",
		"net.ipv4.tcp_keepalive_time",
		"net.ipv4.tcp_rmem",
		"net.ipv4.tcp_syncookies",
		"net.ipv4.tcp_wmem",
	}
}

// Sysctl is a kernel setting of a pod's namespaces, its name with dots between
// the parts.
type Sysctl struct {
	Name, Value string
}

// Sysctls returns the kernel settings that a pod asks for.
func Sysctls(p *corev1.Pod) []Sysctl {
	if p.Spec.SecurityContext == nil {
		return nil
	}
	var out []Sysctl
	for _, s := range p.Spec.SecurityContext.Sysctls {
		out = append(out, Sysctl{Name: SysctlName(s.Name), Value: s.Value})
	}
	return out
}

// SysctlName brings a name that has slashes between its parts into the form
// with dots. Which of both stands first is the separator; the other one is then
// part of a name, such as that of a network device.
func SysctlName(name string) string {
	i := strings.IndexAny(name, "./")
	if i < 0 || name[i] == '.' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, name)
}

// ForbiddenSysctl returns why a node does not take a pod for its kernel
// settings, or an empty text.
func ForbiddenSysctl(p *corev1.Pod) string {
	for _, s := range Sysctls(p) {
		switch {
		case p.Spec.HostNetwork && strings.HasPrefix(s.Name, "net."):
			return "forbidden sysctl: \"" + s.Name + "\" not allowed with host net enabled"
		case p.Spec.HostIPC && strings.HasPrefix(s.Name, "kernel.shm"):
			return "forbidden sysctl: \"" + s.Name + "\" not allowed with host ipc enabled"
		}
		if !slices.Contains(safeSysctls(), s.Name) {
			return "forbidden sysctl: \"" + s.Name + "\" not allowlisted"
		}
	}
	return ""
}
