package podtest

import (
	"slices"
	"syscall"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

func (s *Sim) beginHook(st pod.Step) {
	if st.Kind != pod.StepPreStop {
		return
	}
	if h := s.Obs.Hooks[st.Attempt]; h.PreStopAt.IsZero() {
		h.PreStopAt = s.Now
		s.Obs.Hooks[st.Attempt] = h
	}
}

func (s *Sim) endHook(st pod.Step) {
	h, state := s.Obs.Hooks[st.Attempt], pod.HookDone
	if s.HookFails != nil && s.HookFails(st) {
		state = pod.HookFailed
	}
	if st.Kind == pod.StepPostStart {
		h.PostStart, h.Message = state, "the hook"
	} else {
		h.PreStop = state
	}
	s.Obs.Hooks[st.Attempt] = h
}

// Probe takes in what a probe of an attempt says. It is ignored where the
// attempt does not run or its container has no such probe.
func (s *Sim) Probe(id string, kind pod.ProbeKind, good bool) {
	a := s.Attempt(id)
	if a == nil || a.State != pod.AttemptRunning {
		return
	}
	c, _ := pod.FindContainer(s.Pod, a.Container)
	if c == nil {
		return
	}
	p := s.Obs.Probes[id]
	switch {
	case kind == pod.StartupProbe && c.StartupProbe != nil && good:
		p.Started = true
	case kind == pod.StartupProbe && c.StartupProbe != nil && !p.Started,
		kind == pod.LivenessProbe && c.LivenessProbe != nil && !good:
		p.Failed = kind
	case kind == pod.ReadinessProbe && c.ReadinessProbe != nil:
		p.Ready = &good
	default:
		return
	}
	s.Obs.Probes[id] = p
}

func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// checkLife checks what must hold of hooks and sidecars when a step begins.
func (s *Sim) checkLife(st pod.Step) {
	a := s.Attempt(st.Attempt)
	switch st.Kind {
	case pod.StepPostStart, pod.StepPreStop:
		if a == nil || a.State != pod.AttemptRunning {
			s.broken("%s in an attempt that does not run", st.ID())
		}
		if _, told := s.Obs.Stops[st.Attempt]; told {
			s.broken("%s after the stop signal", st.ID())
		}
		h := s.Obs.Hooks[st.Attempt]
		if st.Kind == pod.StepPostStart && h.PostStart != pod.HookPending || st.Kind == pod.StepPreStop && h.PreStop != pod.HookPending {
			s.broken("%s once more", st.ID())
		}
		if st.Kind == pod.StepPreStop && st.Limit <= 0 {
			s.broken("%s without time", st.ID())
		}
	case pod.StepSignalContainer:
		if a != nil && st.Signal != syscall.SIGKILL {
			s.checkStop(a)
		}
	case pod.StepCreateContainer:
		s.checkOrder(st)
	}
}

// checkStop: an attempt is told to stop after its hook and, in a pod that is
// being deleted, a sidecar after the others, unless time is over.
func (s *Sim) checkStop(a *pod.Attempt) {
	c, _ := pod.FindContainer(s.Pod, a.Container)
	if c == nil {
		return
	}
	h := s.Obs.Hooks[a.ID]
	hooked := c.Lifecycle != nil && c.Lifecycle.PreStop != nil
	began := s.Obs.Stopping
	since := began
	if since.IsZero() {
		since = s.Now
	}
	if hooked && h.PreStop == pod.HookPending && h.PreStopAt.IsZero() && s.Now.Before(pod.KillTime(s.Pod, since)) {
		s.broken("%s is told to stop before its hook", a.ID)
	}
	if s.Pod.DeletionTimestamp == nil || !sidecar(c) || began.IsZero() || !s.Now.Before(pod.KillTime(s.Pod, began)) {
		return
	}
	for _, o := range s.Obs.Attempts {
		if oc, init := pod.FindContainer(s.Pod, o.Container); oc != nil && o.State != pod.AttemptExited && (!init || !sidecar(oc)) {
			s.broken("sidecar %s is told to stop before %s", a.ID, o.ID)
		}
	}
}

// checkOrder: an app container is first made when every sidecar is started.
func (s *Sim) checkOrder(st pod.Step) {
	if _, init := pod.FindContainer(s.Pod, st.Container); init || st.Container == pod.Holder || s.appsRan() {
		return
	}
	for i := range s.Pod.Spec.InitContainers {
		c := &s.Pod.Spec.InitContainers[i]
		if !sidecar(c) {
			continue
		}
		live := slices.ContainsFunc(s.Obs.Attempts, func(a pod.Attempt) bool {
			return a.Container == c.Name && a.State == pod.AttemptRunning
		})
		if !live {
			s.broken("%s is made before sidecar %s is started", st.Container, c.Name)
		}
	}
}

func (s *Sim) appsRan() bool {
	return slices.ContainsFunc(s.Obs.Attempts, func(a pod.Attempt) bool {
		_, init := pod.FindContainer(s.Pod, a.Container)
		return !init && a.Container != pod.Holder
	}) || slices.ContainsFunc(s.Pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.ContainerID != "" })
}

// checkShown: nothing is ready or started that its probes do not say so of, now
// or in the status before.
func (s *Sim) checkShown(before, after corev1.PodStatus) {
	old := map[string]corev1.ContainerStatus{}
	for _, c := range slices.Concat(before.InitContainerStatuses, before.ContainerStatuses) {
		old[c.Name] = c
	}
	for _, st := range slices.Concat(after.InitContainerStatuses, after.ContainerStatuses) {
		c, _ := pod.FindContainer(s.Pod, st.Name)
		if c == nil || st.State.Running == nil {
			continue
		}
		found := pod.Probes{}
		for id, p := range s.Obs.Probes {
			if st.ContainerID == "containerd://"+id {
				found = p
			}
		}
		same := old[st.Name].ContainerID == st.ContainerID
		started := found.Started || same && old[st.Name].Started != nil && *old[st.Name].Started
		if c.StartupProbe != nil && st.Started != nil && *st.Started && !started {
			s.broken("%s is started without its probe", st.Name)
		}
		ready := found.Ready != nil && *found.Ready || found.Ready == nil && same && old[st.Name].Ready
		if c.ReadinessProbe != nil && st.Ready && !ready {
			s.broken("%s is ready without its probe", st.Name)
		}
		if st.Ready && (st.Started == nil || !*st.Started) {
			s.broken("%s is ready and not started", st.Name)
		}
	}
}

// ProbeAll lets every probe of every running attempt succeed.
func (s *Sim) ProbeAll() {
	for _, a := range slices.Clone(s.Obs.Attempts) {
		for _, k := range []pod.ProbeKind{pod.StartupProbe, pod.ReadinessProbe} {
			s.Probe(a.ID, k, true)
		}
	}
}

// unprobed says whether a running attempt waits for its startup probe.
func (s *Sim) unprobed() bool {
	return slices.ContainsFunc(s.Obs.Attempts, func(a pod.Attempt) bool {
		c, _ := pod.FindContainer(s.Pod, a.Container)
		p := s.Obs.Probes[a.ID]
		return c != nil && a.State == pod.AttemptRunning && p.Failed == "" &&
			(c.StartupProbe != nil && !p.Started || c.ReadinessProbe != nil && p.Ready == nil)
	})
}
