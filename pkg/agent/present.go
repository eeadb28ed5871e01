package agent

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// usersOf names the containers that events about a pull step are about. An
// empty name is the pod itself, to which the images of volumes belong.
func usersOf(p *corev1.Pod, s pod.Step) []string {
	if s.Volume != "" || s.Container != "" {
		return []string{s.Container}
	}
	var out []string
	for c := range pod.AllContainers(p) {
		if c.Image == s.Image {
			out = append(out, c.Name)
		}
	}
	return out
}

// waitingFor names the containers that cannot be made without the image of a
// pull step.
func waitingFor(p *corev1.Pod, s pod.Step) []string {
	if s.Volume == "" {
		return usersOf(p, s)
	}
	var out []string
	for c := range pod.AllContainers(p) {
		if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == s.Volume }) {
			out = append(out, c.Name)
		}
	}
	return out
}

// fetches notes down for whom an image is being pulled: for containers by their
// names, for a volume by its name after a slash.
func (w *worker) fetches(users []string, s pod.Step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.Volume != "" {
		w.fetched["/"+s.Volume] = s.Image
		return
	}
	for _, name := range users {
		w.fetched[name] = s.Image
	}
}

// tellPresent records, for a container whose image did not have to be pulled,
// that it is there.
func (w *worker) tellPresent(p *corev1.Pod, container, image string) {
	w.mu.Lock()
	pulled := w.fetched[container] == image
	delete(w.fetched, container)
	w.mu.Unlock()
	if !pulled {
		w.normal(p, container, reasonPulled, presentMessage, image)
	}
}

// tellVolumes does the same for the images of volumes, once for each.
func (w *worker) tellVolumes(p *corev1.Pod) {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.Image == nil {
			continue
		}
		w.mu.Lock()
		told := w.fetched["/"+v.Name] == v.Image.Reference
		w.fetched["/"+v.Name] = v.Image.Reference
		w.mu.Unlock()
		if !told {
			w.normal(p, "", reasonPulled, presentMessage, v.Image.Reference)
		}
	}
}

const presentMessage = "Container image %q already present on machine and can be accessed by the pod"
