package volume

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

const (
	hostsHeader = "# Kubernetes-managed hosts file.\n"
	hostsLocal  = "127.0.0.1\tlocalhost\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::0\tip6-localnet\n" +
		"fe00::0\tip6-mcastprefix\n" +
		"fe00::1\tip6-allnodes\n" +
		"fe00::2\tip6-allrouters\n"
	hostsAliases = "\n# Entries added by HostAliases.\n"
)

const hostsHostHeader = "# Kubernetes-managed hosts file (host network).\n"

// nodeHostsText returns the hosts file of a pod in the node's network, from that
// of the node.
func nodeHostsText(p *corev1.Pod, node string) string {
	var b strings.Builder
	b.WriteString(hostsHostHeader)
	b.WriteString(node)
	writeAliases(&b, p.Spec.HostAliases)
	return b.String()
}

// hostsText returns the hosts file of a pod. domain is that of the cluster; it
// makes a full name where the pod has a subdomain.
func hostsText(p *corev1.Pod, ips []string, domain string) string {
	var b strings.Builder
	b.WriteString(hostsHeader)
	b.WriteString(hostsLocal)
	name := pod.Hostname(p)
	if full := pod.FQDN(p, domain); full != "" {
		name = full + "\t" + name
	}
	for _, ip := range ips {
		b.WriteString(ip + "\t" + name + "\n")
	}
	writeAliases(&b, p.Spec.HostAliases)
	return b.String()
}

func writeAliases(b *strings.Builder, aliases []corev1.HostAlias) {
	if len(aliases) > 0 {
		b.WriteString(hostsAliases)
	}
	for _, a := range aliases {
		b.WriteString(a.IP + "\t" + strings.Join(a.Hostnames, "\t") + "\n")
	}
}
