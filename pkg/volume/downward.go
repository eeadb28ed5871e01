package volume

import (
	"path"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
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
			text, err = pod.FieldText(p, it.FieldRef.FieldPath)
		case it.ResourceFieldRef != nil:
			text, err = pod.ResourceText(p, it.ResourceFieldRef, allocatable)
		default:
			err = invalid("%s: neither fieldRef nor resourceFieldRef", it.Path)
		}
		if err != nil {
			return nil, err
		}
		out[path.Clean(it.Path)] = file{data: []byte(text), mode: or(it.Mode, mode)}
	}
	return out, out.check()
}

func findContainer(p *corev1.Pod, name string) *corev1.Container {
	c, _ := pod.FindContainer(p, name)
	return c
}
