package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// wantedImage is an image that a container needs: its own, or that of a volume.
type wantedImage struct {
	ref    string
	policy corev1.PullPolicy
	// volume is the name of the volume that shows the image; empty for the
	// container's own.
	volume string
	// mounted: the container cannot be made without it.
	mounted bool
}

func (u *unit) image() wantedImage {
	return wantedImage{ref: u.c.Image, policy: u.c.ImagePullPolicy, mounted: true}
}

// volumeImages are the images of the pod's volumes. As in Kubernetes they are
// all pulled before a container is made, and hold up those that mount them, in
// the order of whose mounts they come.
func (v *view) volumeImages(u *unit) []wantedImage {
	var mounted, others []wantedImage
	for i := range v.pod.Spec.Volumes {
		vol := &v.pod.Spec.Volumes[i]
		if vol.Image != nil {
			others = append(others, wantedImage{ref: vol.Image.Reference, policy: vol.Image.PullPolicy, volume: vol.Name})
		}
	}
	if len(others) == 0 {
		return nil
	}
	for i := range u.c.VolumeMounts {
		for j := range others {
			if others[j].volume == u.c.VolumeMounts[i].Name && !others[j].mounted {
				others[j].mounted = true
				mounted = append(mounted, others[j])
			}
		}
	}
	for _, w := range others {
		if !w.mounted {
			mounted = append(mounted, w)
		}
	}
	return mounted
}

// imageReady says whether the next attempt of a container can use an image as
// it is on the node.
func (v *view) imageReady(u *unit, w wantedImage) bool {
	if _, present := v.o.Images[w.ref]; !present {
		return false
	}
	if w.policy != corev1.PullAlways {
		return true
	}
	pulled, ok := v.o.Pulled[w.ref]
	return ok && (u.ended == nil || u.ghost || pulled.After(u.ended.CreatedAt))
}

// images asks for the images of a container's next attempt and says whether all
// that it needs are there.
func (pl *planner) images(u *unit) bool {
	ready := true
	for _, w := range append(pl.volumeImages(u), u.image()) {
		if pl.imageReady(u, w) {
			continue
		}
		pl.fetch(u, w)
		ready = ready && !w.mounted
	}
	return ready
}

// fetch pulls an image, if that is allowed and due.
func (pl *planner) fetch(u *unit, w wantedImage) {
	// What is told of the image of a volume is told of the pod, and what that
	// means for a container, of the container.
	about := u.c.Name
	if w.volume != "" {
		about = ""
	}
	failed := func(reason string) {
		if w.mounted {
			pl.notice(u.c.Name, corev1.EventTypeWarning, "Failed", "Error: "+reason)
		}
	}
	if w.policy == corev1.PullNever {
		pl.notice(about, corev1.EventTypeWarning, ReasonErrImageNeverPull, neverPullMessage(w.ref))
		failed(ReasonErrImageNeverPull)
		pl.wake(pl.now.Add(imageRecheck))
		return
	}
	s := Step{Kind: StepPullImage, Container: u.c.Name, Image: w.ref, Volume: w.volume}
	if w.volume != "" {
		s.Container = ""
	}
	if f, bad := pl.failure(s); bad {
		if shown := f.At.Add(pullErrorShown); !f.Final && pl.now.Before(shown) {
			pl.wake(shown)
		} else if at, again := retryAt(s.Kind, f); again && pl.now.Before(at) {
			pl.notice(about, corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", w.ref))
			failed(ReasonImagePullBackOff)
		}
	}
	for _, asked := range pl.d.Steps {
		if asked.ID() == s.ID() {
			return
		}
	}
	if _, pulling := pl.o.InFlight[s.ID()]; pulling {
		return
	}
	pl.add(s)
}

// imageWaiting is the waiting state of a container one of whose images is
// missing; empty where nothing has gone wrong yet.
func (v *view) imageWaiting(u *unit) (reason, message string) {
	for _, w := range v.volumeImages(u) {
		// Of several that the container mounts the last is told of.
		if r, m := v.imageProblem(u, w); w.mounted && r != "" {
			reason, message = r, m
		}
	}
	if reason != "" {
		return reason, message
	}
	return v.imageProblem(u, u.image())
}

func (v *view) imageProblem(u *unit, w wantedImage) (reason, message string) {
	if v.imageReady(u, w) {
		return "", ""
	}
	if w.policy == corev1.PullNever {
		return ReasonErrImageNeverPull, neverPullMessage(w.ref)
	}
	f, failed := v.failure(Step{Kind: StepPullImage, Image: w.ref})
	if !failed {
		return "", ""
	}
	reason = f.Reason
	if reason == "" {
		reason = ReasonErrImagePull
	}
	if f.Final || reason != ReasonErrImagePull || v.now.Before(f.At.Add(pullErrorShown)) {
		return reason, f.Message
	}
	message = fmt.Sprintf("Back-off pulling image %q", w.ref)
	if f.Message != "" {
		message += ": " + reason + ": " + f.Message
	}
	return ReasonImagePullBackOff, message
}

func neverPullMessage(image string) string {
	return fmt.Sprintf("Container image %q is not present with pull policy of Never", image)
}

// VolumeImages are the references of the images that the pod's volumes show.
func VolumeImages(p *corev1.Pod) []string {
	var refs []string
	for i := range p.Spec.Volumes {
		if img := p.Spec.Volumes[i].Image; img != nil {
			refs = append(refs, img.Reference)
		}
	}
	return refs
}
