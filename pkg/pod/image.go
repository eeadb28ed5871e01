package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// imageReady says whether the next attempt of a container can use its image as
// it is on the node.
func (v *view) imageReady(u *unit) bool {
	if _, present := v.o.Images[u.c.Image]; !present {
		return false
	}
	if u.c.ImagePullPolicy != corev1.PullAlways {
		return true
	}
	pulled, ok := v.o.Pulled[u.c.Image]
	return ok && (u.ended == nil || u.ghost || pulled.After(u.ended.CreatedAt))
}

// fetch pulls the image, if that is allowed and due.
func (pl *planner) fetch(u *unit) {
	if u.c.ImagePullPolicy == corev1.PullNever {
		pl.notice(u.c.Name, corev1.EventTypeWarning, ReasonErrImageNeverPull, neverPullMessage(u.c))
		pl.notice(u.c.Name, corev1.EventTypeWarning, "Failed", "Error: "+ReasonErrImageNeverPull)
		pl.wake(pl.now.Add(imageRecheck))
		return
	}
	s := Step{Kind: StepPullImage, Container: u.c.Name, Image: u.c.Image}
	for _, asked := range pl.d.Steps {
		if asked.ID() == s.ID() {
			return
		}
	}
	if _, pulling := pl.o.InFlight[s.ID()]; pulling {
		return
	}
	if f, failed := pl.failure(s); failed {
		if shown := f.At.Add(pullErrorShown); !f.Final && pl.now.Before(shown) {
			pl.wake(shown)
		} else if at, again := retryAt(s.Kind, f); again && pl.now.Before(at) {
			pl.notice(u.c.Name, corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", u.c.Image))
			pl.notice(u.c.Name, corev1.EventTypeWarning, "Failed", "Error: "+ReasonImagePullBackOff)
		}
	}
	pl.add(s)
}

// imageWaiting is the waiting state of a container whose image is missing;
// empty where nothing has gone wrong yet.
func (v *view) imageWaiting(u *unit) (reason, message string) {
	if v.imageReady(u) {
		return "", ""
	}
	if u.c.ImagePullPolicy == corev1.PullNever {
		return ReasonErrImageNeverPull, neverPullMessage(u.c)
	}
	f, failed := v.failure(Step{Kind: StepPullImage, Image: u.c.Image})
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
	message = fmt.Sprintf("Back-off pulling image %q", u.c.Image)
	if f.Message != "" {
		message += ": " + reason + ": " + f.Message
	}
	return ReasonImagePullBackOff, message
}

func neverPullMessage(c *corev1.Container) string {
	return fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
}
