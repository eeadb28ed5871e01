package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	// ClusterDomain is the suffix of names in the cluster.
	ClusterDomain = "cluster.local"
	// maxHostname is the kernel's limit, less its terminating byte.
	maxHostname = 63
	// maxFQDN is what Kubernetes lets a full name take of the kernel's field.
	maxFQDN = 64
)

// Hostname is the short name inside the pod: spec.hostnameOverride, else
// spec.hostname, else the pod's name, cut to what a host may be called.
func Hostname(p *corev1.Pod) string {
	name := p.Spec.Hostname
	if p.Spec.HostnameOverride != nil {
		name = *p.Spec.HostnameOverride
	}
	if name == "" {
		name = p.Name
	}
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	return name
}

// KernelHostname is the name that the kernel tells the pod's processes: the full
// one with setHostnameAsFQDN, where there is one. One that is too long for the
// kernel is an error in the words of Kubernetes.
func KernelHostname(p *corev1.Pod) (string, error) {
	full := FQDN(p, ClusterDomain)
	if full == "" || p.Spec.SetHostnameAsFQDN == nil || !*p.Spec.SetHostnameAsFQDN {
		return Hostname(p), nil
	}
	if len(full) > maxFQDN {
		return "", fmt.Errorf("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long "+
			"(%d characters is the max, %d characters requested)", full, maxFQDN, len(full))
	}
	return full, nil
}

// HostnameOn is the name that the pod's processes see: that of the node for one
// in the node's network. It is empty where the pod can have none; the making of
// its sandbox tells why.
func HostnameOn(p *corev1.Pod, node string) string {
	if p.Spec.HostNetwork {
		return node
	}
	name, err := KernelHostname(p)
	if err != nil {
		return ""
	}
	return name
}

// FQDN is the pod's full name in the cluster's domain. A pod without a
// subdomain, or whose hostname is overridden, has none, and FQDN is empty.
func FQDN(p *corev1.Pod, clusterDomain string) string {
	if p.Spec.Subdomain == "" || clusterDomain == "" || p.Spec.HostnameOverride != nil {
		return ""
	}
	return strings.Join([]string{Hostname(p), p.Spec.Subdomain, p.Namespace, "svc", clusterDomain}, ".")
}
