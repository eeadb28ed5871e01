package pod

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// warnings are about what is valid and hardly meant, in Kubernetes' words and
// order.
func warnings(p *corev1.Pod) []string {
	var out []string
	if msgs := validation.IsDNS1123Label(p.Name); len(msgs) > 0 {
		out = append(out, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in "+
			"surprising behavior; a DNS label is recommended: %v", msgs))
	}
	return append(out, specWarnings(p.Annotations, &p.Spec, nil)...)
}

// TemplateWarnings are those about the pods of a template.
func TemplateWarnings(t *corev1.PodTemplateSpec, path *field.Path) []string {
	return specWarnings(t.Annotations, &t.Spec, path)
}

func specWarnings(annotations map[string]string, s *corev1.PodSpec, path *field.Path) []string {
	spec, notes := path.Child("spec"), path.Child("metadata", "annotations")
	out := nodeWarnings(s, spec)
	out = append(out, spreadWarnings(s.TopologySpreadConstraints, spec.Child("topologySpreadConstraints"))...)
	for _, key := range []string{
		"scheduler.alpha.kubernetes.io/critical-pod",
		"security.alpha.kubernetes.io/sysctls", "security.alpha.kubernetes.io/unsafe-sysctls",
	} {
		if _, ok := annotations[key]; ok {
			out = append(out, notes.Key(key).String()+": "+oldAnnotations()[key])
		}
	}
	out = append(out, overlapWarnings(s.Volumes)...)
	out = append(out, aliasWarnings(s.HostAliases, spec.Child("hostAliases"))...)
	out = append(out, secretWarnings(s.ImagePullSecrets, spec.Child("imagePullSecrets"))...)
	out = append(out, byteWarnings(s.Overhead, corev1.ResourceMemory, spec.Child("overhead"))...)
	out = append(out, byteWarnings(s.Overhead, corev1.ResourceEphemeralStorage, spec.Child("overhead"))...)
	out = append(out, containersWarnings(annotations, s, path)...)
	out = append(out, portWarnings(s, spec)...)
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		out = append(out, spec.Child("terminationGracePeriodSeconds").String()+
			": must be >= 0; negative values are invalid and will be treated as 1")
	}
	out = append(out, affinityWarnings(s.Affinity, spec.Child("affinity"))...)
	return append(out, addressWarnings(s, spec)...)
}

// oldAnnotations are those that once were fields and have no effect any more.
func oldAnnotations() map[string]string {
	return map[string]string{
		"scheduler.alpha.kubernetes.io/critical-pod":  `non-functional in v1.16+; use the "priorityClassName" field instead`,
		"security.alpha.kubernetes.io/sysctls":        `non-functional in v1.11+; use the "sysctls" field instead`,
		"security.alpha.kubernetes.io/unsafe-sysctls": `non-functional in v1.11+; use the "sysctls" field instead`,
	}
}

// OldNodeLabel says what has become of a label of nodes, if it is one that
// Kubernetes has given up.
func OldNodeLabel(key string) (string, bool) {
	now, ok := oldNodeLabels()[key]
	return now, ok
}

// oldNodeLabels are labels of nodes that Kubernetes has given up.
func oldNodeLabels() map[string]string {
	return map[string]string{
		"beta.kubernetes.io/arch":                       `deprecated since v1.14; use "kubernetes.io/arch" instead`,
		"beta.kubernetes.io/os":                         `deprecated since v1.14; use "kubernetes.io/os" instead`,
		"beta.kubernetes.io/instance-type":              `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
		"failure-domain.beta.kubernetes.io/region":      `deprecated since v1.17; use "topology.kubernetes.io/region" instead`,
		"failure-domain.beta.kubernetes.io/zone":        `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
		"app.kubernetes.io/created-by":                  "deprecated since v1.9",
		"scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
	}
}

// nodeWarnings are about the choice of a node.
func nodeWarnings(s *corev1.PodSpec, spec *field.Path) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(s.NodeSelector)) {
		if now, ok := oldNodeLabels()[key]; ok {
			out = append(out, fmt.Sprintf("%s: %s", spec.Child("nodeSelector").Key(key), now))
		}
	}
	if s.Affinity == nil || s.Affinity.NodeAffinity == nil {
		return out
	}
	n, at := s.Affinity.NodeAffinity, spec.Child("affinity", "nodeAffinity")
	if r := n.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
		terms := at.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
		for i := range r.NodeSelectorTerms {
			out = append(out, termWarnings(&r.NodeSelectorTerms[i], false, terms.Index(i))...)
		}
	}
	for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
		term := at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("preference")
		out = append(out, termWarnings(&n.PreferredDuringSchedulingIgnoredDuringExecution[i].Preference, true, term)...)
	}
	return out
}

// termWarnings may look at values: where a wrong one is refused it need not be
// warned of.
func termWarnings(t *corev1.NodeSelectorTerm, values bool, at *field.Path) []string {
	var out []string
	for i, e := range t.MatchExpressions {
		at := at.Child("matchExpressions").Index(i)
		if now, ok := oldNodeLabels()[e.Key]; ok {
			out = append(out, fmt.Sprintf("%s: %s is %s", at.Child("key"), e.Key, now))
		}
		if !values {
			continue
		}
		for j, v := range e.Values {
			for _, msg := range validation.IsValidLabelValue(v) {
				out = append(out, fmt.Sprintf("%s: %s is invalid, %s", at.Child("values").Index(j), v, msg))
			}
		}
	}
	return out
}

func spreadWarnings(all []corev1.TopologySpreadConstraint, at *field.Path) []string {
	var out []string
	for i := range all {
		if now, ok := oldNodeLabels()[all[i].TopologyKey]; ok {
			out = append(out, fmt.Sprintf("%s: %s is %s", at.Index(i).Child("topologyKey"), all[i].TopologyKey, now))
		}
		out = append(out, noSelector(all[i].LabelSelector, at.Index(i))...)
	}
	return out
}

func noSelector(s *metav1.LabelSelector, at *field.Path) []string {
	if s != nil {
		return nil
	}
	return []string{at.Child("labelSelector").String() + ": a null labelSelector results in matching no pod"}
}

func affinityWarnings(a *corev1.Affinity, at *field.Path) []string {
	var out []string
	both := func(must []corev1.PodAffinityTerm, like []corev1.WeightedPodAffinityTerm, at *field.Path) {
		for i := range must {
			out = append(out, noSelector(must[i].LabelSelector, at.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i))...)
		}
		for i := range like {
			at := at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm")
			out = append(out, noSelector(like[i].PodAffinityTerm.LabelSelector, at)...)
		}
	}
	if a != nil && a.PodAffinity != nil {
		p := a.PodAffinity
		both(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, at.Child("podAffinity"))
	}
	if a != nil && a.PodAntiAffinity != nil {
		p := a.PodAntiAffinity
		both(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, at.Child("podAntiAffinity"))
	}
	return out
}

func aliasWarnings(aliases []corev1.HostAlias, at *field.Path) []string {
	var out []string
	seen := sets.New[string]()
	for i, a := range aliases {
		if seen.Has(a.IP) {
			out = append(out, fmt.Sprintf("%s: duplicate ip %q", at.Index(i).Child("ip"), a.IP))
		}
		seen.Insert(a.IP)
	}
	return out
}

func secretWarnings(secrets []corev1.LocalObjectReference, at *field.Path) []string {
	var out, empty []string
	seen := sets.New[string]()
	for i, s := range secrets {
		name := at.Index(i).Child("name")
		if seen.Has(s.Name) {
			out = append(out, fmt.Sprintf("%s: duplicate name %q", name, s.Name))
		}
		if s.Name == "" {
			empty = append(empty, fmt.Sprintf("%s: invalid empty name %q", name, s.Name))
		}
		seen.Insert(s.Name)
	}
	return append(out, empty...)
}

func byteWarnings(list corev1.ResourceList, name corev1.ResourceName, at *field.Path) []string {
	q, ok := list[name]
	if whole := q.DeepCopy(); !ok || whole.RoundUp(0) {
		return nil
	}
	return []string{fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", at.Key(string(name)), q.String())}
}

// addressWarnings are about forms of addresses that not all programs read alike.
func addressWarnings(s *corev1.PodSpec, spec *field.Path) []string {
	var out []string
	if s.DNSConfig != nil {
		for i, ip := range s.DNSConfig.Nameservers {
			out = append(out, addressWarning(spec.Child("dnsConfig", "nameservers").Index(i), ip)...)
		}
	}
	for i, a := range s.HostAliases {
		out = append(out, addressWarning(spec.Child("hostAliases").Index(i).Child("ip"), a.IP)...)
	}
	return out
}

// addressWarning keeps what is no address at all from the library, which would
// report it to the log.
func addressWarning(at *field.Path, ip string) []string {
	if len(validation.IsValidIPForLegacyField(at, ip, false, nil)) > 0 {
		return nil
	}
	return validation.GetWarningsForIP(at, ip)
}

// containersWarnings are about what each container says for itself.
func containersWarnings(annotations map[string]string, s *corev1.PodSpec, path *field.Path) []string {
	const useField = `: non-functional in v1.27+; use the "seccompProfile" field instead`
	notes := path.Child("metadata", "annotations")
	var out []string
	old := func(key string, p *corev1.SeccompProfile) {
		if _, ok := annotations[key]; ok && p == nil {
			out = append(out, notes.Key(key).String()+useField)
		}
	}
	var profile *corev1.SeccompProfile
	if s.SecurityContext != nil {
		profile = s.SecurityContext.SeccompProfile
	}
	old(corev1.SeccompPodAnnotationKey, profile)
	eachContainer(s, path.Child("spec"), func(c *corev1.Container, at *field.Path) {
		var profile *corev1.SeccompProfile
		if c.SecurityContext != nil {
			profile = c.SecurityContext.SeccompProfile
		}
		old(corev1.SeccompContainerAnnotationKeyPrefix+c.Name, profile)
		key := corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
		general, own := appArmorField(s, c)
		// Those of pods are adopted, and warned of then.
		if text, ok := annotations[key]; ok && path != nil && !own &&
			(general == nil || !apiequality.Semantic.DeepEqual(general, understoodAppArmor(text))) {
			out = append(out, oldAppArmorWarning(notes.Key(key)))
		}
		for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
			out = append(out, byteWarnings(c.Resources.Limits, name, at.Child("resources", "limits"))...)
			out = append(out, byteWarnings(c.Resources.Requests, name, at.Child("resources", "requests"))...)
		}
		out = append(out, envWarnings(c.Env, at.Child("env"))...)
	})
	return out
}

// envWarnings: a variable may extend an earlier one of its name, not replace it.
func envWarnings(env []corev1.EnvVar, at *field.Path) []string {
	var out []string
	seen := sets.New[string]()
	for i, e := range env {
		ref := "$(" + e.Name + ")"
		extends := e.ValueFrom == nil && e.Value != ref && strings.Contains(e.Value, ref)
		if seen.Has(e.Name) && !extends {
			out = append(out, fmt.Sprintf("%s: hides previous definition of %q, which may be dropped when using apply",
				at.Index(i), e.Name))
		}
		seen.Insert(e.Name)
	}
	return out
}
