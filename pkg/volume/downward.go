package volume

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// downwardPayload returns the files of downward API items. allocatable is what
// a container without a limit may use.
func downwardPayload(p *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode int32, allocatable corev1.ResourceList) (payload, error) {
	out := payload{}
	for _, it := range items {
		var text string
		var err error
		switch {
		case it.FieldRef != nil:
			text, err = fieldText(p, it.FieldRef.FieldPath)
		case it.ResourceFieldRef != nil:
			text, err = resourceText(p, it.ResourceFieldRef, allocatable)
		default:
			err = invalid("%s: neither fieldRef nor resourceFieldRef", it.Path)
		}
		if err != nil {
			return nil, err
		}
		out[path.Clean(it.Path)] = file{[]byte(text), or(it.Mode, mode)}
	}
	return out, out.check()
}

// fieldText returns the value of a field of the pod's metadata. A label or an
// annotation that is not there is an empty text.
func fieldText(p *corev1.Pod, field string) (string, error) {
	switch field {
	case "metadata.name":
		return p.Name, nil
	case "metadata.namespace":
		return p.Namespace, nil
	case "metadata.uid":
		return string(p.UID), nil
	case "metadata.labels":
		return mapText(p.Labels), nil
	case "metadata.annotations":
		return mapText(p.Annotations), nil
	}
	if key, ok := subscript(field, "metadata.labels"); ok {
		return p.Labels[key], nil
	}
	if key, ok := subscript(field, "metadata.annotations"); ok {
		return p.Annotations[key], nil
	}
	return "", invalid("unsupported fieldPath: %s", field)
}

// subscript returns the key of text if it has the form field['key'].
func subscript(text, field string) (string, bool) {
	rest, ok := strings.CutPrefix(text, field+"['")
	if !ok {
		return "", false
	}
	key, ok := strings.CutSuffix(rest, "']")
	return key, ok && key != ""
}

// mapText writes key="value" lines, sorted, without a newline at the end.
func mapText(m map[string]string) string {
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, k+"="+strconv.Quote(m[k]))
	}
	return strings.Join(lines, "\n")
}

// resourceText returns a container's request or limit in units of the divisor,
// rounded up.
func resourceText(p *corev1.Pod, ref *corev1.ResourceFieldSelector, allocatable corev1.ResourceList) (string, error) {
	c := findContainer(p, ref.ContainerName)
	if c == nil {
		return "", invalid("container %s not found", ref.ContainerName)
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	res := corev1.ResourceName(name)
	if res != corev1.ResourceCPU && res != corev1.ResourceMemory {
		return "", invalid("unsupported container resource : %s", ref.Resource)
	}
	var q resource.Quantity
	switch kind {
	case "limits":
		var ok bool
		if q, ok = c.Resources.Limits[res]; !ok || q.IsZero() {
			q = allocatable[res]
		}
	case "requests":
		q = c.Resources.Requests[res]
	default:
		return "", invalid("unsupported container resource : %s", ref.Resource)
	}
	value, unit := q.Value, ref.Divisor.Value
	if res == corev1.ResourceCPU {
		value, unit = q.MilliValue, ref.Divisor.MilliValue
	}
	div := unit()
	if ref.Divisor.IsZero() {
		div = 1
		if res == corev1.ResourceCPU {
			div = 1000
		}
	}
	if div <= 0 {
		return "", invalid("unsupported divisor: %s", ref.Divisor.String())
	}
	n := value()
	text := n / div
	if n%div > 0 {
		text++
	}
	return fmt.Sprint(text), nil
}

func findContainer(p *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		if i := slices.IndexFunc(list, func(c corev1.Container) bool { return c.Name == name }); i >= 0 {
			return &list[i]
		}
	}
	return nil
}
