package volume

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The limits of resolv.conf that Kubernetes sets.
const (
	maxNameservers  = 3
	maxSearches     = 32
	maxSearchLength = 2048
)

// resolver is the content of a resolv.conf.
type resolver struct {
	nameservers, searches, options []string
}

// parseResolver reads a resolv.conf, leaving out what it does not know.
func parseResolver(text string) resolver {
	var r resolver
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.HasPrefix(f[0], "#") || strings.HasPrefix(f[0], ";") {
			continue
		}
		switch f[0] {
		case "nameserver":
			r.nameservers = append(r.nameservers, f[1])
		case "search", "domain":
			// The last one counts, as in the C library.
			r.searches = nil
			for _, s := range f[1:] {
				if s != "." {
					s = strings.TrimSuffix(s, ".")
				}
				r.searches = append(r.searches, s)
			}
		case "options":
			r.options = f[1:]
		}
	}
	return r
}

// local says whether all nameservers are on loopback addresses, which a pod's
// network cannot reach.
func (r resolver) local() bool {
	return len(r.nameservers) > 0 && !slices.ContainsFunc(r.nameservers, func(s string) bool {
		a, err := netip.ParseAddr(s)
		return err != nil || !a.IsLoopback()
	})
}

// podResolver decides the resolv.conf of a pod from its DNS policy and that of
// the node. cut says that some of it did not fit the limits.
func podResolver(p *corev1.Pod, host resolver, clusterDNS []string, domain string) (r resolver, cut bool) {
	switch policy := p.Spec.DNSPolicy; {
	case policy == corev1.DNSNone:
	case policy == corev1.DNSDefault, len(clusterDNS) == 0,
		policy != corev1.DNSClusterFirstWithHostNet && p.Spec.HostNetwork:
		r = host
	default:
		r = clusterResolver(p.Namespace, host, clusterDNS, domain)
	}
	if c := p.Spec.DNSConfig; c != nil {
		r = r.with(c)
	}
	return r.limited()
}

func clusterResolver(namespace string, host resolver, dns []string, domain string) resolver {
	r := resolver{nameservers: dns, options: []string{"ndots:5"}}
	if domain != "" {
		r.searches = []string{namespace + ".svc." + domain, "svc." + domain, domain}
	}
	r.searches = append(r.searches, host.searches...)
	return r
}

// with adds the pod's own settings. Its options replace those of the same name.
func (r resolver) with(c *corev1.PodDNSConfig) resolver {
	out := resolver{
		nameservers: slices.Concat(r.nameservers, c.Nameservers),
		searches:    slices.Concat(r.searches, c.Searches),
	}
	own := map[string]bool{}
	for _, o := range c.Options {
		own[o.Name] = true
	}
	for _, o := range r.options {
		if name, _, _ := strings.Cut(o, ":"); !own[name] {
			out.options = append(out.options, o)
		}
	}
	for _, o := range c.Options {
		text := o.Name
		if o.Value != nil && *o.Value != "" {
			text += ":" + *o.Value
		}
		out.options = append(out.options, text)
	}
	return out
}

// limited removes repetitions and what is beyond the limits.
func (r resolver) limited() (resolver, bool) {
	out := resolver{unique(r.nameservers), unique(r.searches), unique(r.options)}
	cut := len(out.nameservers) > maxNameservers || len(out.searches) > maxSearches
	out.nameservers = out.nameservers[:min(len(out.nameservers), maxNameservers)]
	out.searches = out.searches[:min(len(out.searches), maxSearches)]
	for len(strings.Join(out.searches, " ")) > maxSearchLength {
		out.searches = out.searches[:len(out.searches)-1]
		cut = true
	}
	return out, cut
}

func (r resolver) text() string {
	var b strings.Builder
	if len(r.searches) > 0 {
		b.WriteString("search " + strings.Join(r.searches, " ") + "\n")
	}
	for _, n := range r.nameservers {
		b.WriteString("nameserver " + n + "\n")
	}
	if len(r.options) > 0 {
		b.WriteString("options " + strings.Join(r.options, " ") + "\n")
	}
	return b.String()
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
