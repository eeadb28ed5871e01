package podtest

import (
	"fmt"
	"maps"
	"slices"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// Sim carries the steps of one pod out in memory: a node, an agent and an API
// object without goroutines, timers or I/O. Time stands still until Advance.
// It notes every breach of what must always hold in Broken.
type Sim struct {
	Pod *corev1.Pod
	Now time.Time
	// Obs is the observation that Plan gets.
	Obs pod.Observed
	// Program says what an attempt does; nil: it runs until SIGTERM and
	// ends with code 0.
	Program func(container string, number int) Program
	// HookFails says whether a hook of an attempt fails; nil: none does.
	HookFails func(st pod.Step) bool
	// AutoProbe lets Settle answer startup and readiness probes with success.
	AutoProbe bool
	// Broken are breaches of invariants, in words.
	Broken []string
	// Last is the last decision.
	Last pod.Decision
	// Done is set with a Done decision.
	Done bool

	flights  map[pod.StepID]pod.Step
	programs map[string]Program
	ends     map[string]time.Time
}

// NewSim returns a node that has never seen the pod.
func NewSim(p *corev1.Pod, now time.Time) *Sim {
	s := &Sim{Pod: p.DeepCopy(), Now: now, flights: map[pod.StepID]pod.Step{}, programs: map[string]Program{}, ends: map[string]time.Time{}}
	s.Obs = pod.Observed{Images: map[string]pod.Image{}, Node: pod.Node{HostIPs: []string{"192.0.2.1"}}}
	s.forget()
	return s
}

func (s *Sim) forget() {
	s.Obs.InFlight, s.Obs.Failures = map[pod.StepID]pod.Flight{}, map[pod.StepID]pod.Failure{}
	s.Obs.Stops, s.Obs.Kills, s.Obs.Pulled = map[string]time.Time{}, map[string]time.Time{}, map[string]time.Time{}
	s.Obs.Probes, s.Obs.Hooks, s.Obs.Stopping = map[string]pod.Probes{}, map[string]pod.Hooks{}, time.Time{}
	s.Obs.Evicted = nil
	clear(s.flights)
}

func (s *Sim) broken(format string, args ...any) {
	s.Broken = append(s.Broken, fmt.Sprintf(format, args...))
}

// Plan plans, begins every step of the decision, and reports the status.
func (s *Sim) Plan() pod.Decision {
	s.checkLive()
	s.Last = pod.Plan(s.Pod, s.Obs, s.Now)
	for _, st := range s.Last.Steps {
		id := st.ID()
		if _, twice := s.flights[id]; twice {
			s.broken("step %s asked for while it is under way", id)
		}
		s.checkBegin(st)
		s.beginHook(st)
		s.flights[id] = st
		s.Obs.InFlight[id] = pod.Flight{Since: s.Now}
	}
	switch {
	case !s.Last.Stopping:
		s.Obs.Stopping = time.Time{}
	case s.Obs.Stopping.IsZero():
		s.Obs.Stopping = s.Now
	}
	s.Report()
	if s.Last.Done {
		s.Done = true
		if len(s.Last.Steps) > 0 || len(s.Obs.Attempts) > 0 || s.Obs.Sandbox != nil || s.Obs.VolumesPresent {
			s.broken("done with something left: %+v", s.Last)
		}
	}
	return s.Last
}

// Report computes the status, checks it against the one before, and stores it
// as the API would.
func (s *Sim) Report() corev1.PodStatus {
	before, after := s.Pod.Status, pod.Status(s.Pod, s.Obs, s.Now)
	if ended(before.Phase) && after.Phase != before.Phase {
		s.broken("phase went from %s to %s", before.Phase, after.Phase)
	}
	if before.Phase == corev1.PodRunning && after.Phase == corev1.PodPending {
		s.broken("phase fell from Running to Pending")
	}
	if ended(after.Phase) && !ended(before.Phase) && s.Live() > 0 {
		s.broken("phase %s with %d live attempts", after.Phase, s.Live())
	}
	counts := map[string]int32{}
	for _, c := range slices.Concat(before.InitContainerStatuses, before.ContainerStatuses) {
		counts[c.Name] = c.RestartCount
	}
	for _, c := range slices.Concat(after.InitContainerStatuses, after.ContainerStatuses) {
		if c.RestartCount < counts[c.Name] {
			s.broken("restartCount of %s fell from %d to %d", c.Name, counts[c.Name], c.RestartCount)
		}
	}
	s.checkShown(before, after)
	s.Pod.Status = after
	return after
}

func ended(p corev1.PodPhase) bool { return p == corev1.PodSucceeded || p == corev1.PodFailed }

// Live is the number of attempts that have not ended.
func (s *Sim) Live() int {
	n := 0
	for _, a := range s.Obs.Attempts {
		if a.State != pod.AttemptExited && a.Container != pod.Holder {
			n++
		}
	}
	return n
}

func (s *Sim) checkLive() {
	live := map[string]int{}
	for _, a := range s.Obs.Attempts {
		if a.State != pod.AttemptExited {
			if live[a.Container]++; live[a.Container] > 1 {
				s.broken("container %s has %d live attempts", a.Container, live[a.Container])
			}
		}
	}
}

// checkBegin checks what must hold when a step begins.
func (s *Sim) checkBegin(st pod.Step) {
	final := ended(s.Pod.Status.Phase)
	switch st.Kind {
	case pod.StepCreateContainer, pod.StepStartContainer, pod.StepCreateSandbox, pod.StepAttachNetwork, pod.StepPullImage:
		if final {
			s.broken("%s in a pod that has ended", st.ID())
		}
		if s.Pod.DeletionTimestamp != nil {
			s.broken("%s in a pod that is being deleted", st.ID())
		}
	}
	s.checkLife(st)
	if st.Container == pod.Holder {
		return // it needs no more than the sandbox
	}
	switch st.Kind {
	case pod.StepStartContainer:
		if s.Obs.Sandbox == nil || !s.Obs.Sandbox.Attached || s.Obs.Sandbox.Stale {
			s.broken("start without a network")
		}
	case pod.StepCreateContainer:
		if pod.SharesProcesses(s.Pod) && !slices.ContainsFunc(s.Obs.Attempts, holds) {
			s.broken("create without what holds the processes")
		}
		if s.Obs.Sandbox == nil || s.Obs.Sandbox.Stale || !s.Obs.VolumesReady {
			s.broken("create without a sandbox or volumes")
		}
		if _, ok := s.Obs.Images[st.Image]; !ok {
			s.broken("create without image %s", st.Image)
		}
	case pod.StepDetachNetwork, pod.StepRemoveSandbox, pod.StepRemoveVolumes:
		if s.Live() > 0 {
			s.broken("%s under live attempts", st.ID())
		}
	case pod.StepDeletePod:
		if len(s.Obs.Attempts) > 0 || s.Obs.Sandbox != nil || s.Obs.VolumesPresent {
			s.broken("the API object goes before its remains")
		}
	}
}

func holds(a pod.Attempt) bool {
	return a.Container == pod.Holder && a.State != pod.AttemptExited
}

// Flights are the steps under way, in a fixed order.
func (s *Sim) Flights() []pod.Step {
	var l []pod.Step
	for _, id := range slices.Sorted(maps.Keys(s.flights)) {
		l = append(l, s.flights[id])
	}
	return l
}

// Finish ends a step under way with success.
func (s *Sim) Finish(st pod.Step) {
	if f := s.effect(st); f != nil {
		s.fail(st, *f)
		return
	}
	s.land(st)
	delete(s.Obs.Failures, st.ID())
	switch st.Kind {
	case pod.StepSignalContainer:
		if _, had := s.Obs.Stops[st.Attempt]; !had {
			s.Obs.Stops[st.Attempt] = s.Now
		}
		if st.Signal == syscall.SIGKILL {
			s.Obs.Kills[st.Attempt] = s.Now
		}
	case pod.StepPostStart, pod.StepPreStop:
		s.endHook(st)
	case pod.StepPullImage:
		s.Obs.Pulled[st.Image] = s.Now
	case pod.StepDeletePod:
		s.Obs.Deleted = true
	}
}

// Fail ends a step under way with a failure, after its effect or without.
func (s *Sim) Fail(st pod.Step, afterEffect bool, reason, message string) {
	if st.Kind == pod.StepPostStart || st.Kind == pod.StepPreStop {
		// Its outcome is lost, or it could not be carried out: no failure.
		s.land(st)
		return
	}
	if afterEffect {
		_ = s.effect(st)
	}
	s.fail(st, pod.Failure{Reason: reason, Message: message})
}

func (s *Sim) fail(st pod.Step, f pod.Failure) {
	s.land(st)
	f.Count, f.At = s.Obs.Failures[st.ID()].Count+1, s.Now
	s.Obs.Failures[st.ID()] = f
}

func (s *Sim) land(st pod.Step) {
	delete(s.flights, st.ID())
	delete(s.Obs.InFlight, st.ID())
}

// FinishAll ends every step under way with success.
func (s *Sim) FinishAll() {
	for _, st := range s.Flights() {
		s.Finish(st)
	}
}
