package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// HugePageSize is the size, in bytes, of the pages that a resource is made of;
// false for a resource that is none of huge pages.
func HugePageSize(name corev1.ResourceName) (int64, bool) {
	text, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
	if !ok {
		return 0, false
	}
	size, err := resource.ParseQuantity(text)
	if err != nil || size.Sign() <= 0 {
		return 0, false
	}
	return size.Value(), true
}

// hugePages are the bytes of each page size in the lists; a later one replaces
// an earlier one.
func hugePages(lists ...corev1.ResourceList) map[int64]int64 {
	var out map[int64]int64
	for _, list := range lists {
		for name, amount := range list {
			if size, ok := HugePageSize(name); ok {
				if out == nil {
					out = map[int64]int64{}
				}
				out[size] = amount.Value()
			}
		}
	}
	return out
}

// containerHugePages are what a container may have: what it says, or else its
// pod.
func containerHugePages(p *corev1.Pod, c *corev1.Container) map[int64]int64 {
	if own := podLevel(p); own != nil {
		return hugePages(own.Limits, c.Resources.Limits)
	}
	return hugePages(c.Resources.Limits)
}

// podHugePages are what all containers may have together. Requests and limits
// of huge pages are the same.
func podHugePages(p *corev1.Pod) map[int64]int64 {
	return hugePages(resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{ExcludeOverhead: true}))
}

// HugePageVolume is the size of the pages of a volume of that medium in the pod:
// the medium's own, or the only one that the pod asks for.
func HugePageVolume(p *corev1.Pod, medium corev1.StorageMedium) (int64, error) {
	want := int64(0)
	if medium != corev1.StorageMediumHugePages {
		size, ok := HugePageSize(corev1.ResourceName(strings.Replace(string(medium), string(corev1.StorageMediumHugePagesPrefix), corev1.ResourceHugePagesPrefix, 1)))
		if !ok {
			return 0, configErrorf("medium %s: no size of huge pages", medium)
		}
		want = size
	}
	lists := []corev1.ResourceList{}
	if own := podLevel(p); own != nil {
		lists = append(lists, own.Requests)
	}
	for c := range containers(p) {
		lists = append(lists, c.Resources.Requests)
	}
	found := int64(0)
	for size := range hugePages(lists...) {
		switch {
		case want != 0 && size != want:
		case found != 0:
			return 0, configErrorf("medium: %s can't be used if container requests multiple huge page sizes", medium)
		default:
			found = size
		}
	}
	if found == 0 {
		return 0, configErrorf("medium %s: hugePages storage requested, but there is no resource request for huge pages", medium)
	}
	return found, nil
}

// HugePageName is what the kernel calls a size of pages in its cgroup files.
func HugePageName(size int64) string {
	for _, u := range []struct {
		unit int64
		name string
	}{{1 << 30, "GB"}, {1 << 20, "MB"}, {1 << 10, "KB"}} {
		if size >= u.unit {
			return fmt.Sprintf("%d%s", size/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%dB", size)
}
