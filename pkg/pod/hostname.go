package pod

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxHostname is the kernel's limit, less its terminating byte.
const maxHostname = 63

// Hostname is the name inside the pod: spec.hostname, else the pod's name, cut
// to what a host may be called.
func Hostname(p *corev1.Pod) string {
	name := p.Spec.Hostname
	if name == "" {
		name = p.Name
	}
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	return name
}

// HostnameOn is the name that the pod's processes see: that of the node for one
// in the node's network.
func HostnameOn(p *corev1.Pod, node string) string {
	if p.Spec.HostNetwork {
		return node
	}
	return Hostname(p)
}

// FQDN is the pod's full name in the cluster's domain. A pod without a
// subdomain has none, and FQDN is empty.
func FQDN(p *corev1.Pod, clusterDomain string) string {
	if p.Spec.Subdomain == "" || clusterDomain == "" {
		return ""
	}
	return strings.Join([]string{Hostname(p), p.Spec.Subdomain, p.Namespace, "svc", clusterDomain}, ".")
}
