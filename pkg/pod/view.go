package pod

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// view is an observation of a pod, put in order and judged. Plan and Status
// both begin with it, so that they never disagree.
type view struct {
	pod         *corev1.Pod
	o           Observed
	now         time.Time
	inits, apps []*unit
	// ephemerals are the containers that debug the pod.
	ephemerals []*unit
	// orphans are attempts of containers that the spec does not name.
	orphans []*Attempt
	// trigger is the newest end of a container that asked for all of them to
	// begin anew; nil where none did.
	trigger *Attempt
	// holders are the attempts that hold, or held, the processes the containers
	// share; holder is the one that lives.
	holders []*Attempt
	holder  *Attempt
	// end is why the pod has to end or has ended; nil while it should run.
	end *ending
	// epoch is when the present sandbox was made. Init containers that ended
	// before it count for nothing, as the new sandbox has not seen them.
	epoch time.Time
	// whole: there is a sandbox, and it can be used.
	whole bool
	// initialized: every init container has done its work in this sandbox, and
	// every sidecar has been started.
	initialized bool
}

// ending is why and how a pod ends.
type ending struct {
	// phase is empty where the exit codes decide.
	phase           corev1.PodPhase
	reason, message string
}

func look(p *corev1.Pod, o Observed, now time.Time) *view {
	v := &view{pod: p, o: o, now: now}
	// One that is being made or removed may look whole already, or still.
	v.whole = o.Sandbox != nil && !o.Sandbox.Stale && !v.inFlight(StepCreateSandbox, StepRemoveSandbox)
	byName := make(map[string][]*Attempt, len(p.Spec.Containers)+len(p.Spec.InitContainers))
	for i := range o.Attempts {
		a := &o.Attempts[i]
		byName[a.Container] = append(byName[a.Container], a)
	}
	v.findHolders(byName[Holder])
	delete(byName, Holder)
	units := func(cs []corev1.Container, statuses []corev1.ContainerStatus, init bool) []*unit {
		us := make([]*unit, 0, len(cs))
		for i := range cs {
			c := &cs[i]
			us = append(us, newUnit(c, init, byName[c.Name], statusOf(statuses, c.Name)))
			delete(byName, c.Name)
		}
		return us
	}
	v.inits = units(p.Spec.InitContainers, p.Status.InitContainerStatuses, true)
	v.apps = units(p.Spec.Containers, p.Status.ContainerStatuses, false)
	for i := range p.Spec.EphemeralContainers {
		e := &p.Spec.EphemeralContainers[i]
		v.ephemerals = append(v.ephemerals, newEphemeral(e, byName[e.Name], statusOf(p.Status.EphemeralContainerStatuses, e.Name)))
		delete(byName, e.Name)
	}
	for i := range o.Attempts {
		if a := &o.Attempts[i]; byName[a.Container] != nil {
			v.orphans = append(v.orphans, a)
		}
	}
	if v.whole {
		v.epoch = o.Sandbox.CreatedAt
	}
	v.findReset()
	v.end = v.findEnd()
	v.initialized = v.findInitialized()
	return v
}

func statusOf(l []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range l {
		if l[i].Name == name {
			return &l[i]
		}
	}
	return nil
}

// each calls f for every unit, init containers first.
func (v *view) each(f func(*unit)) {
	for _, l := range [][]*unit{v.inits, v.apps, v.ephemerals} {
		for _, u := range l {
			f(u)
		}
	}
}

func (v *view) failure(s Step) (Failure, bool) {
	f, ok := v.o.Failures[s.ID()]
	return f, ok
}

// inFlight says whether a step of one of these kinds is under way.
func (v *view) inFlight(kinds ...StepKind) bool {
	for id := range v.o.InFlight {
		for _, k := range kinds {
			if ofKind(id, k) {
				return true
			}
		}
	}
	return false
}

func ofKind(id StepID, k StepKind) bool {
	rest, ok := strings.CutPrefix(string(id), string(k))
	return ok && (rest == "" || rest[0] == '/')
}

// alive says whether a process of the pod lives or may come to life without
// another step.
func (v *view) alive() bool {
	if v.inFlight(StepCreateContainer, StepStartContainer) {
		return true
	}
	live := false
	v.each(func(u *unit) { live = live || u.live != nil })
	for _, a := range v.orphans {
		live = live || a.State != AttemptExited
	}
	return live
}

func (v *view) terminal() bool { return isTerminal(v.pod.Status.Phase) }

func (v *view) deleting() bool { return v.pod.DeletionTimestamp != nil }

func isTerminal(p corev1.PodPhase) bool { return p == corev1.PodSucceeded || p == corev1.PodFailed }

func (v *view) policy() corev1.RestartPolicy {
	if v.pod.Spec.RestartPolicy == "" {
		return corev1.RestartPolicyAlways
	}
	return v.pod.Spec.RestartPolicy
}

// ofThisSandbox says whether an attempt was made in the present sandbox.
func (v *view) ofThisSandbox(a *Attempt) bool {
	return v.whole && !a.CreatedAt.Before(v.epoch)
}

// findInitialized: a started app container proves it too, also after the
// attempts of the init containers have gone.
func (v *view) findInitialized() bool {
	if len(v.inits) == 0 {
		return true
	}
	for _, u := range v.apps {
		if u.live != nil && !v.reset(u.live) || u.ended != nil && (v.end != nil || v.ofThisSandbox(u.ended)) {
			return true
		}
	}
	for _, u := range v.inits {
		if !v.passed(u) {
			return false
		}
	}
	return true
}

// passed says whether an init container lets those behind it begin: it has
// done its work or, as a sidecar, is started.
func (v *view) passed(u *unit) bool {
	if u.sidecar {
		return v.started(u) && !v.reset(u.live) || v.end != nil && (u.live != nil || u.ended != nil)
	}
	return v.initDone(u)
}

func (v *view) initDone(u *unit) bool {
	return u.live == nil && u.ended != nil && u.ended.code() == 0 && (v.end != nil || v.ofThisSandbox(u.ended))
}

// turn says whether those before a container let it begin.
func (v *view) turn(u *unit) bool {
	if v.initialized || u.ephemeral {
		return true
	}
	for _, before := range v.inits {
		if before == u {
			return true
		}
		if !v.passed(before) {
			return false
		}
	}
	return false
}
