package podtest

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// effect does to the node what a step does; a failure says why it cannot.
func (s *Sim) effect(st pod.Step) *pod.Failure {
	switch st.Kind {
	case pod.StepCreateSandbox:
		if s.Obs.Sandbox == nil {
			s.Obs.Sandbox = &pod.Sandbox{CreatedAt: s.tick()}
		}
	case pod.StepAttachNetwork:
		if s.Obs.Sandbox == nil {
			return &pod.Failure{Message: "no sandbox"}
		}
		s.Obs.Sandbox.Attached, s.Obs.Sandbox.IPs = true, []string{"10.0.0.2"}
	case pod.StepDetachNetwork:
		if s.Obs.Sandbox != nil {
			s.Obs.Sandbox.Attached, s.Obs.Sandbox.IPs = false, nil
		}
	case pod.StepRemoveSandbox:
		s.Obs.Sandbox = nil
	case pod.StepPrepareVolumes:
		s.Obs.VolumesReady, s.Obs.VolumesPresent = true, true
	case pod.StepRemoveVolumes:
		s.Obs.VolumesReady, s.Obs.VolumesPresent = false, false
	case pod.StepPullImage:
		s.Obs.Images[st.Image] = pod.Image{Name: st.Image, ID: "sha256:" + st.Image}
	case pod.StepCreateContainer:
		return s.create(st)
	case pod.StepStartContainer:
		return s.start(st)
	case pod.StepSignalContainer:
		s.signal(st)
	case pod.StepRemoveContainer:
		s.Vanish(st.Attempt)
	}
	return nil
}

// tick lets an instant pass, as no two things are made at the same time.
func (s *Sim) tick() time.Time {
	s.Now = s.Now.Add(time.Microsecond)
	return s.Now
}

func (s *Sim) create(st pod.Step) *pod.Failure {
	id := fmt.Sprintf("%s-%s-%d", s.Pod.UID, st.Container, st.Number)
	if slices.ContainsFunc(s.Obs.Attempts, func(a pod.Attempt) bool { return a.ID == id }) {
		return nil
	}
	if s.Obs.Sandbox == nil || ended(s.Pod.Status.Phase) {
		s.broken("%s lands without a sandbox or in an ended pod", id)
	}
	if st.Container == pod.Holder {
		s.programs[id] = Program{Lasts: Forever}
		s.Obs.Attempts = append(s.Obs.Attempts, pod.Attempt{
			Pod: pod.RefOf(s.Pod), Container: st.Container, Number: st.Number, ID: id, CreatedAt: s.tick(), PID: 41,
		})
		return nil
	}
	img, present := s.Obs.Images[st.Image]
	c, init := pod.FindContainer(s.Pod, st.Container)
	if !present || c == nil {
		return &pod.Failure{Reason: pod.ReasonCreateContainer, Message: "no image"}
	}
	p := Program{Lasts: Forever}
	if s.Program != nil {
		p = s.Program(st.Container, st.Number)
	}
	s.programs[id] = p
	s.Obs.Attempts = append(s.Obs.Attempts, pod.Attempt{
		Pod: pod.RefOf(s.Pod), Container: st.Container, Init: init, Number: st.Number, Streak: st.Streak, ID: id,
		SpecHash: pod.SpecHash(c), Applied: pod.AppliedFor(s.Pod, c), ImageName: st.Image, ImageID: img.ID, State: pod.AttemptCreated, CreatedAt: s.tick(), PID: 42,
	})
	return nil
}

// Attempt returns the attempt of that ID, or nil.
func (s *Sim) Attempt(id string) *pod.Attempt {
	for i := range s.Obs.Attempts {
		if s.Obs.Attempts[i].ID == id {
			return &s.Obs.Attempts[i]
		}
	}
	return nil
}

func (s *Sim) start(st pod.Step) *pod.Failure {
	a := s.Attempt(st.Attempt)
	if a == nil {
		return &pod.Failure{Reason: pod.ReasonRunContainer, Message: "not found"}
	}
	if a.State != pod.AttemptCreated {
		return nil
	}
	p := s.programs[a.ID]
	if p.StartError != "" {
		s.Exit(a.ID, pod.Exit{Code: 128, StartError: p.StartError})
		return &pod.Failure{Reason: pod.ReasonRunContainer, Message: p.StartError}
	}
	a.State, a.StartedAt = pod.AttemptRunning, s.tick()
	switch {
	case p.Lasts == 0:
		s.Exit(a.ID, pod.Exit{Code: p.Code})
	case p.Lasts > 0:
		s.ends[a.ID] = s.Now.Add(p.Lasts)
	}
	return nil
}

func (s *Sim) signal(st pod.Step) {
	p := s.programs[st.Attempt]
	switch {
	case st.Signal == syscall.SIGKILL:
		s.Exit(st.Attempt, pod.Exit{Code: 137, Signal: 9})
	case !p.IgnoresTerm:
		s.Exit(st.Attempt, pod.Exit{Code: p.TermCode})
	}
}

// Exit ends an attempt that lives.
func (s *Sim) Exit(id string, e pod.Exit) {
	a := s.Attempt(id)
	if a == nil || a.State == pod.AttemptExited {
		return
	}
	e.FinishedAt = s.tick()
	a.State, a.Exit, a.PID = pod.AttemptExited, &e, 0
	delete(s.ends, id)
}

// Vanish removes an attempt, as a step or someone else does.
func (s *Sim) Vanish(id string) {
	s.Obs.Attempts = slices.DeleteFunc(s.Obs.Attempts, func(a pod.Attempt) bool { return a.ID == id })
	delete(s.ends, id)
}

// Advance lets time pass, and processes end whose time has come.
func (s *Sim) Advance(d time.Duration) {
	to := s.Now.Add(d)
	for {
		next, at := "", to
		for id, t := range s.ends {
			if t.Before(at) || t.Equal(at) && (next == "" || id < next) {
				next, at = id, t
			}
		}
		if next == "" {
			break
		}
		s.Now = at
		p := s.programs[next]
		s.Exit(next, pod.Exit{Code: p.Code, OOMKilled: p.OOMKilled})
	}
	if to.After(s.Now) {
		s.Now = to
	}
}

// RestartAgent loses what lives in the agent's memory. Steps under way end
// with their effect or without it, as happened says.
func (s *Sim) RestartAgent(happened func(pod.Step) bool) {
	for _, st := range s.Flights() {
		if happened(st) {
			_ = s.effect(st)
		}
	}
	s.forget()
	s.Obs.VolumesReady = false
}

// Reboot loses every process and the sandbox, and restarts the agent.
func (s *Sim) Reboot() {
	s.RestartAgent(func(pod.Step) bool { return false })
	for i := range s.Obs.Attempts {
		s.Exit(s.Obs.Attempts[i].ID, pod.Exit{Code: 137, Lost: true})
	}
	if s.Obs.Sandbox != nil {
		s.Obs.Sandbox.Stale = true
	}
}

// Delete asks for the deletion of the pod, as the API does. A second call can
// only shorten the grace period.
func (s *Sim) Delete(grace int64) {
	if g := s.Pod.DeletionGracePeriodSeconds; g != nil && *g <= grace {
		return
	}
	at := metav1.NewTime(s.Now.Add(time.Duration(grace) * time.Second).Truncate(time.Second))
	s.Pod.DeletionTimestamp, s.Pod.DeletionGracePeriodSeconds = &at, &grace
}

// Settle plans and finishes steps, and passes the time between, until nothing
// is left to do before the limit is over. It says whether it came to rest.
func (s *Sim) Settle(limit time.Duration) bool {
	end := s.Now.Add(limit)
	for range 10_000 {
		before := s.Pod.Status.Phase
		d := s.Plan()
		if s.Done {
			return true
		}
		if len(s.flights) > 0 {
			s.FinishAll()
			continue
		}
		if s.AutoProbe && s.unprobed() {
			s.ProbeAll()
			continue
		}
		if s.Pod.Status.Phase != before {
			// The API tells the agent about it, and the agent plans again.
			continue
		}
		next := d.Wake
		for _, t := range s.ends {
			if next.IsZero() || t.Before(next) {
				next = t
			}
		}
		if next.IsZero() || next.After(end) {
			return true
		}
		s.Advance(max(next.Sub(s.Now), time.Microsecond))
	}
	return false
}

// NewPod returns a pod with these app containers, each with an image of its
// own name.
func NewPod(policy corev1.RestartPolicy, containers ...string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "0000-1111", Generation: 1},
		Spec:       corev1.PodSpec{RestartPolicy: policy},
	}
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: c, Image: "example.test/" + c + ":1", ImagePullPolicy: corev1.PullIfNotPresent,
		})
	}
	return p
}
