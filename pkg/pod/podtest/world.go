package podtest

import (
	"time"

	"github.com/carob-project/carob/pkg/pod"
)

// World is all fakes of one node, with one script of faults.
type World struct {
	Faults    *Faults
	Runtime   *Runtime
	Images    *Images
	Sandboxes *Sandboxes
	Volumes   *Volumes
}

// NewWorld returns a node without pods whose registry offers these images. A
// nil clock is time.Now, which is virtual in a synctest bubble.
func NewWorld(clock pod.Clock, registry ...string) *World {
	if clock == nil {
		clock = time.Now
	}
	f := &Faults{}
	images := NewImages(f, registry...)
	return &World{
		Faults: f, Images: images, Runtime: NewRuntime(clock, images, f),
		Sandboxes: NewSandboxes(clock, f), Volumes: NewVolumes(f),
	}
}

// Reboot loses every process and makes every sandbox stale.
func (w *World) Reboot() {
	w.Runtime.Reboot()
	w.Sandboxes.Reboot()
}
