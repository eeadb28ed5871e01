package agent

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// progressEvery is how often the progress of a pull becomes an event.
const progressEvery = 15 * time.Second

// pull pulls the image of a step, and tells how it goes.
func (w *worker) pull(ctx context.Context, p *corev1.Pod, s pod.Step) error {
	users := usersOf(p, s)
	w.mu.Lock()
	for _, name := range users {
		w.fetched[name] = s.Image
	}
	w.mu.Unlock()
	for _, name := range users {
		w.normal(p, name, reasonPulling, "Pulling image %q", s.Image)
	}
	began := w.a.clock()
	var mu sync.Mutex
	said := began
	img, err := w.a.puller.pull(ctx, s.Image, func(text string) {
		w.note(s.ID(), text)
		mu.Lock()
		defer mu.Unlock()
		if now := w.a.clock(); now.Sub(said) >= progressEvery {
			said = now
			for _, name := range users {
				w.normal(p, name, reasonPulling, "Pulling image %q: %s", s.Image, text)
			}
		}
	})
	if err != nil {
		return err
	}
	took := w.a.clock().Sub(began).Round(time.Millisecond)
	for _, name := range users {
		w.normal(p, name, reasonPulled, "Successfully pulled image %q in %v. Image size: %d bytes.", s.Image, took, img.Size)
	}
	w.a.pulled()
	return nil
}

// note sets the progress text of a step under way.
func (w *worker) note(id pod.StepID, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.flights[id]; f != nil {
		f.note = text
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
		w.normal(p, container, reasonPulled, "Container image %q already present on machine", image)
	}
}
