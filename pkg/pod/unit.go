package pod

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// idScheme goes before the runtime's name of an attempt in a status.
const idScheme = "containerd://"

// unit is one container of the spec with what is known about it.
type unit struct {
	c *corev1.Container
	// init: it has to end before what follows it begins; sidecar: it is a
	// restartable init container, which only has to be started.
	// ephemeral: it was added to debug the pod. It runs once, and the pod
	// takes no notice of it.
	init, sidecar, ephemeral bool
	hash                     string
	// all are the attempts the runtime knows, newest first.
	all []*Attempt
	// live is the newest one that has not ended.
	live *Attempt
	// ended is the newest one that has. It may be a ghost: known from the
	// previous status only, as the attempt itself has gone.
	ended *Attempt
	ghost bool
	// prev is the previous status, or nil.
	prev *corev1.ContainerStatus
	// count is the restartCount: it never falls.
	count int
}

func newUnit(c *corev1.Container, init bool, all []*Attempt, prev *corev1.ContainerStatus) *unit {
	slices.SortStableFunc(all, func(a, b *Attempt) int {
		return cmp.Or(cmp.Compare(b.Number, a.Number), b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	sidecar := init && isSidecar(c)
	u := &unit{c: c, init: init && !sidecar, sidecar: sidecar, hash: SpecHash(c), all: all, prev: prev}
	for _, a := range all {
		u.count = max(u.count, a.Number)
		switch {
		case a.State != AttemptExited:
			if u.live == nil {
				u.live = a
			}
		case u.ended == nil:
			u.ended = a
		}
	}
	if prev == nil {
		return u
	}
	newest := -1
	if len(all) > 0 {
		newest = all[0].Number
	}
	if u.live == nil && int(prev.RestartCount) > newest {
		if g := ghostOf(prev); g != nil {
			u.ended, u.ghost = g, true
		}
	}
	u.count = max(u.count, int(prev.RestartCount))
	return u
}

// newEphemeral makes the unit of a container that debugs the pod.
func newEphemeral(e *corev1.EphemeralContainer, all []*Attempt, prev *corev1.ContainerStatus) *unit {
	u := newUnit(asContainer(e), false, all, prev)
	u.ephemeral = true
	return u
}

// asContainer is the container that an ephemeral one is.
func asContainer(e *corev1.EphemeralContainer) *corev1.Container {
	return (*corev1.Container)(&e.EphemeralContainerCommon)
}

// ghostOf makes an ended attempt of a status whose attempt has gone, or nil
// where the status knows of none.
func ghostOf(s *corev1.ContainerStatus) *Attempt {
	a := &Attempt{
		Container: s.Name, Number: int(s.RestartCount), State: AttemptExited,
		ID: strings.TrimPrefix(s.ContainerID, idScheme), ImageName: s.Image, ImageID: s.ImageID,
	}
	t := s.State.Terminated
	if t == nil && s.State.Running == nil {
		t = s.LastTerminationState.Terminated
	}
	switch {
	case t != nil:
		a.StartedAt = t.StartedAt.Time
		a.Exit = &Exit{Code: int(t.ExitCode), FinishedAt: t.FinishedAt.Time}
	case s.State.Running != nil:
		a.StartedAt = s.State.Running.StartedAt.Time
		a.Exit = &Exit{Code: lostCode, FinishedAt: a.StartedAt, Lost: true}
	default:
		return nil
	}
	// A status has whole seconds; what began in the second the sandbox was
	// made in began after it.
	a.CreatedAt = a.StartedAt.Add(time.Second - 1)
	return a
}

// changed says whether the spec asks for another process than the attempt's.
func (u *unit) changed(a *Attempt) bool {
	if a.SpecHash == u.hash || a.Applied != "" {
		return a.SpecHash != u.hash
	}
	c := *u.c
	if u.prev != nil && u.prev.Resources != nil {
		// What it was made with; the spec may ask for another size by now.
		c.Resources = *u.prev.Resources
	}
	return a.SpecHash != legacyHash(u.c) && a.SpecHash != legacyHash(&c)
}

// code is the exit code of an ended attempt.
func (a *Attempt) code() int {
	switch {
	case a.Exit == nil:
		return lostCode
	case a.Exit.StartError != "" && a.Exit.Code == 0:
		return startErrorCode
	}
	return a.Exit.Code
}

func (a *Attempt) finishedAt() time.Time {
	if a.Exit == nil {
		return time.Time{}
	}
	return a.Exit.FinishedAt
}

// Exit codes that no process gave.
const (
	lostCode       = 137
	startErrorCode = 128
)

// container is the unit's container; nil for a nil unit.
func (u *unit) container() *corev1.Container {
	if u == nil {
		return nil
	}
	return u.c
}
