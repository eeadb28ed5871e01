package pod

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// warnings are about what is valid and hardly meant.
func warnings(p *corev1.Pod) []string {
	var out []string
	if msgs := validation.IsDNS1123Label(p.Name); len(msgs) > 0 && p.Name != "" {
		out = append(out, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in "+
			"surprising behavior; a DNS label is recommended: %v", msgs))
	}
	out = append(out, annotationWarnings(p.Annotations, field.NewPath("metadata"))...)
	return append(out, specWarnings(&p.Spec, field.NewPath("spec"))...)
}

// TemplateWarnings are those about the pods of a template.
func TemplateWarnings(t *corev1.PodTemplateSpec, path *field.Path) []string {
	out := annotationWarnings(t.Annotations, path.Child("metadata"))
	return append(out, specWarnings(&t.Spec, path.Child("spec"))...)
}

func specWarnings(s *corev1.PodSpec, spec *field.Path) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(s.NodeSelector)) {
		if now, ok := oldNodeLabels()[key]; ok {
			out = append(out, fmt.Sprintf("%s: deprecated since v1.14; use %q instead",
				spec.Child("nodeSelector").Key(key), now))
		}
	}
	out = append(out, aliasWarnings(s.HostAliases, spec.Child("hostAliases"))...)
	for i := range s.InitContainers {
		out = append(out, containerWarnings(&s.InitContainers[i], spec.Child("initContainers").Index(i))...)
	}
	for i := range s.Containers {
		out = append(out, containerWarnings(&s.Containers[i], spec.Child("containers").Index(i))...)
	}
	return out
}

// annotationWarnings tell of annotations that once were fields.
func annotationWarnings(annotations map[string]string, path *field.Path) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) ||
			strings.HasPrefix(key, "container.seccomp.security.alpha.kubernetes.io/") ||
			key == "seccomp.security.alpha.kubernetes.io/pod" {
			out = append(out, fmt.Sprintf("%s[%s]: has no effect", path.Child("annotations"), key))
		}
	}
	return out
}

func oldNodeLabels() map[string]string {
	return map[string]string{
		"beta.kubernetes.io/arch":                  "kubernetes.io/arch",
		"beta.kubernetes.io/os":                    "kubernetes.io/os",
		"beta.kubernetes.io/instance-type":         "node.kubernetes.io/instance-type",
		"failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
		"failure-domain.beta.kubernetes.io/zone":   "topology.kubernetes.io/zone",
	}
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

func containerWarnings(c *corev1.Container, at *field.Path) []string {
	var out []string
	for _, list := range []struct {
		name   string
		values corev1.ResourceList
	}{{"requests", c.Resources.Requests}, {"limits", c.Resources.Limits}} {
		q := list.values[corev1.ResourceMemory]
		if whole := q.DeepCopy(); !whole.RoundUp(0) {
			out = append(out, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer",
				at.Child("resources", list.name).Key("memory"), q.String()))
		}
	}
	env := sets.New[string]()
	for i, e := range c.Env {
		if env.Has(e.Name) {
			out = append(out, fmt.Sprintf("%s: hides previous definition of %q, which may be dropped when using apply",
				at.Child("env").Index(i), e.Name))
		}
		env.Insert(e.Name)
	}
	ports := map[string]int{}
	for i, p := range c.Ports {
		key := fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol)
		if first, ok := ports[key]; ok {
			out = append(out, fmt.Sprintf("%s: duplicate port definition with %s",
				at.Child("ports").Index(i), at.Child("ports").Index(first)))
			continue
		}
		ports[key] = i
	}
	return out
}
