package pod

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// The fields that are known only after the network is attached.
const (
	fieldPodIP  = "status.podIP"
	fieldPodIPs = "status.podIPs"
)

// FieldText returns a field of the pod's metadata as text. A label or an
// annotation that is not there is an empty text; another field is an error
// that wraps ErrConfig.
func FieldText(p *corev1.Pod, field string) (string, error) {
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
	return "", configErrorf("unsupported fieldPath: %s", field)
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

// ResourceText returns a container's request or limit in units of the divisor,
// rounded up. A limit that is not set is that of the
// pod, or what the node has to give. An unknown
// container or resource is an error that wraps ErrConfig.
func ResourceText(p *corev1.Pod, ref *corev1.ResourceFieldSelector, allocatable corev1.ResourceList) (string, error) {
	c, _ := FindContainer(p, ref.ContainerName)
	if c == nil {
		return "", configErrorf("container %s not found", ref.ContainerName)
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	res := corev1.ResourceName(name)
	_, huge := HugePageSize(res)
	if !huge && res != corev1.ResourceCPU && res != corev1.ResourceMemory && res != corev1.ResourceEphemeralStorage {
		return "", configErrorf("unsupported container resource : %s", ref.Resource)
	}
	var q resource.Quantity
	switch kind {
	case "limits":
		var ok bool
		if q, ok = c.Resources.Limits[res]; !ok || q.IsZero() {
			// There are never more huge pages than somebody has asked for.
			if q = podLimit(p, res); q.IsZero() && !huge {
				q = allocatable[res]
			}
		}
	case "requests":
		q = c.Resources.Requests[res]
	default:
		return "", configErrorf("unsupported container resource : %s", ref.Resource)
	}
	amount, unit := q.Value(), ref.Divisor.Value()
	if res == corev1.ResourceCPU {
		amount, unit = q.MilliValue(), ref.Divisor.MilliValue()
	}
	if ref.Divisor.IsZero() {
		unit = 1
		if res == corev1.ResourceCPU {
			unit = 1000
		}
	}
	if unit <= 0 {
		return "", configErrorf("unsupported divisor: %s", ref.Divisor.String())
	}
	n := amount / unit
	if amount%unit > 0 {
		n++
	}
	return strconv.FormatInt(n, 10), nil
}
