package pod

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	unlocatedMessage = "The container could not be located when the pod was terminated"
	goneMessage      = "The container could not be found any more; it was running when it was last seen"
	unseenMessage    = "The end of the container was not seen, as after a restart of the machine"
)

func (v *view) containerStatuses(units []*unit, ended bool) []corev1.ContainerStatus {
	if len(units) == 0 {
		return nil
	}
	l := make([]corev1.ContainerStatus, 0, len(units))
	for _, u := range units {
		l = append(l, v.containerStatus(u, ended))
	}
	return l
}

// containerStatus describes one container; ended says that the whole pod has
// ended and nothing of it will run again.
func (v *view) containerStatus(u *unit, ended bool) corev1.ContainerStatus {
	s := corev1.ContainerStatus{
		Name: u.c.Name, Image: u.c.Image, RestartCount: int32(u.count),
		AllocatedResources: u.c.Resources.Requests.DeepCopy(),
		Resources:          v.resources(u),
		VolumeMounts:       mountStatuses(u.c, v.o.Features),
	}
	started := false
	switch {
	case v.up(u):
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: apiTime(u.live.StartedAt)}
		started, s.Ready = v.started(u), !u.init && v.ready(u)
		identify(&s, u.live)
		s.LastTerminationState = v.last(u, s.ContainerID)
	case u.live != nil:
		s.State.Waiting = v.waitingLive(u)
		identify(&s, u.live)
		s.LastTerminationState = v.last(u, s.ContainerID)
	case u.ended != nil:
		v.endedState(&s, u, ended)
	default:
		v.neverRan(&s, u, ended)
		s.AllocatedResources, s.Resources = nil, nil
	}
	if u.ephemeral {
		// Nothing waits for it, so it is never said to be started or ready.
		s.Ready = false
	} else {
		s.Started = &started
	}
	if l := u.c.Lifecycle; l != nil && l.StopSignal != nil {
		sig := *l.StopSignal
		s.StopSignal = &sig
	}
	return s
}

// endedState is that of a container without a live attempt: ended, or waiting
// for the next one.
func (v *view) endedState(s *corev1.ContainerStatus, u *unit, ended bool) {
	identify(s, u.ended)
	state := u.terminated()
	if v.end == nil && !ended {
		if n := v.next(u); n.wanted {
			if v.reset(u.ended) && !v.now.Before(n.at) {
				s.State.Waiting = &corev1.ContainerStateWaiting{Reason: restartingAllReason, Message: restartingAllMessage}
				s.LastTerminationState.Terminated = resetState()
				return
			}
			w := v.waitingNext(u, n)
			if w == nil && !u.init && !Restarts(&v.pod.Spec, u.c, u.ended.code()) {
				// The API takes no way back from an end that the restart
				// policy leaves at that, so none may be seen here.
				w = v.waitingDefault()
			}
			if w != nil {
				s.State.Waiting = w
				s.LastTerminationState = corev1.ContainerState{Terminated: state}
				return
			}
		}
	}
	s.State.Terminated = state
	s.Ready = u.init && state.ExitCode == 0
	s.LastTerminationState = u.last(s.ContainerID)
}

// neverRan is the state of a container that was never made, as far as anyone
// knows.
func (v *view) neverRan(s *corev1.ContainerStatus, u *unit, ended bool) {
	switch {
	case u.init && v.initialized:
		// The app containers prove that it did its work.
		s.State.Terminated = &corev1.ContainerStateTerminated{Reason: ReasonCompleted}
		s.Ready = true
	case ended && v.initialized && !u.ephemeral:
		s.State.Terminated = &corev1.ContainerStateTerminated{
			ExitCode: lostCode, Reason: ReasonStatusUnknown, Message: unlocatedMessage,
		}
	default:
		if w := v.waitingNext(u, attemptNext{}); w != nil && v.end == nil {
			s.State.Waiting = w
			return
		}
		s.State.Waiting = v.waitingDefault()
	}
}

// identify fills in which attempt and image the status is about.
func identify(s *corev1.ContainerStatus, a *Attempt) {
	s.ImageID = a.ImageID
	if a.ID != "" {
		s.ContainerID = idScheme + a.ID
	}
	if a.User != nil && a.State != AttemptCreated {
		s.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{
			UID: a.User.UID, GID: a.User.GID, SupplementalGroups: slices.Clone(a.User.Groups),
		}}
	}
	if a.ImageName != "" {
		s.Image = fullImageName(a.ImageName)
	}
}

// fullImageName is the form of a reference that runtimes report: with its
// registry, and a tag or a digest.
func fullImageName(ref string) string {
	domain, rest, ok := strings.Cut(ref, "/")
	switch {
	case !ok:
		ref = "docker.io/library/" + ref
	case domain == "docker.io" && !strings.Contains(rest, "/"):
		ref = "docker.io/library/" + rest
	case !strings.ContainsAny(domain, ".:") && domain != "localhost":
		ref = "docker.io/" + ref
	}
	if strings.Contains(ref, "@") || strings.Contains(ref[strings.LastIndex(ref, "/")+1:], ":") {
		return ref
	}
	return ref + ":latest"
}

// last is the lastState beside an attempt with this container ID. One whose
// predecessor went because all containers began anew tells of that.
func (v *view) last(u *unit, containerID string) corev1.ContainerState {
	if v.reset(u.ended) && !v.reset(u.live) {
		return corev1.ContainerState{Terminated: resetState()}
	}
	if p := u.prev; p != nil && p.ContainerID == containerID && p.State.Waiting == nil {
		if t := p.LastTerminationState.Terminated; t != nil && t.Reason == restartingAllReason {
			return *p.LastTerminationState.DeepCopy()
		}
	}
	return u.last(containerID)
}

// last is the lastState beside an attempt with this container ID.
func (u *unit) last(containerID string) corev1.ContainerState {
	if u.live != nil && u.ended != nil && !u.ghost {
		return corev1.ContainerState{Terminated: u.terminated()}
	}
	if u.prev == nil {
		return corev1.ContainerState{}
	}
	if u.prev.ContainerID == containerID && u.prev.State.Waiting == nil {
		return *u.prev.LastTerminationState.DeepCopy()
	}
	for _, a := range u.all {
		if a != u.live && a != u.ended && a.State == AttemptExited {
			return corev1.ContainerState{Terminated: terminatedOf(a)}
		}
	}
	if t := u.prev.State.Terminated; t != nil && t.ContainerID != containerID {
		return corev1.ContainerState{Terminated: t.DeepCopy()}
	}
	if t := u.prev.LastTerminationState.Terminated; t != nil && t.ContainerID != containerID {
		return corev1.ContainerState{Terminated: t.DeepCopy()}
	}
	return corev1.ContainerState{}
}

// terminated is the state of the newest ended attempt. That of a ghost is
// what the previous status said.
func (u *unit) terminated() *corev1.ContainerStateTerminated {
	if !u.ghost {
		return terminatedOf(u.ended)
	}
	if t := u.prev.State.Terminated; t != nil {
		return t.DeepCopy()
	}
	if u.prev.State.Running == nil {
		if t := u.prev.LastTerminationState.Terminated; t != nil {
			return t.DeepCopy()
		}
	}
	t := terminatedOf(u.ended)
	t.Message = goneMessage
	return t
}

func terminatedOf(a *Attempt) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{
		ExitCode: int32(a.code()), Reason: ReasonError, StartedAt: apiTime(a.StartedAt),
		FinishedAt: apiTime(a.finishedAt()),
	}
	if a.ID != "" {
		t.ContainerID = idScheme + a.ID
	}
	if a.Exit != nil {
		t.Message = a.Exit.Message
	}
	switch {
	case a.Exit == nil || a.Exit.Lost:
		t.ExitCode, t.Reason = lostCode, ReasonStatusUnknown
		if t.Message == "" {
			t.Message = unseenMessage
		}
	case a.Exit.StartError != "":
		// What never started did so at the beginning of time, in Kubernetes.
		t.StartedAt = metav1.NewTime(time.Unix(0, 0))
		t.ExitCode, t.Reason, t.Message = startErrorCode, ReasonStartError, a.Exit.StartError
	case a.Exit.OOMKilled:
		t.Reason = ReasonOOMKilled
	case t.ExitCode == 0:
		t.Reason = ReasonCompleted
	}
	return t
}

// waitingLive is the state of an attempt that is made and not yet started, or
// whose postStart hook is not over.
func (v *view) waitingLive(u *unit) *corev1.ContainerStateWaiting {
	if h := v.o.Hooks[u.live.ID]; h.PostStart == HookFailed {
		return &corev1.ContainerStateWaiting{Reason: ReasonPostStartHook, Message: h.Message}
	}
	if f, failed := v.failure(Step{Kind: StepStartContainer, Attempt: u.live.ID}); failed {
		return waiting(f, ReasonRunContainer)
	}
	return v.waitingDefault()
}

// waitingNext says what holds up the next attempt, or nil where nothing does.
func (v *view) waitingNext(u *unit, n attemptNext) *corev1.ContainerStateWaiting {
	if !v.initialized && !u.init && !u.sidecar && !u.ephemeral {
		return nil
	}
	if v.now.Before(n.at) {
		return &corev1.ContainerStateWaiting{Reason: ReasonCrashLoopBackOff, Message: fmt.Sprintf(
			"back-off %s restarting failed container=%s pod=%s", n.delay, u.c.Name, v.nameAndUID())}
	}
	if !v.turn(u) {
		return nil
	}
	if reason, message := v.imageWaiting(u); reason != "" {
		return &corev1.ContainerStateWaiting{Reason: reason, Message: message}
	}
	if f, failed := v.failure(Step{Kind: StepCreateContainer, Container: u.c.Name}); failed {
		return waiting(f, ReasonCreateContainer)
	}
	return nil
}

func waiting(f Failure, reason string) *corev1.ContainerStateWaiting {
	if f.Reason != "" {
		reason = f.Reason
	}
	return &corev1.ContainerStateWaiting{Reason: reason, Message: f.Message}
}

// waitingDefault is the state of a container nothing is wrong with. Where the
// pod's own parts cannot be made, its message says why.
func (v *view) waitingDefault() *corev1.ContainerStateWaiting {
	w := &corev1.ContainerStateWaiting{Reason: ReasonContainerCreating}
	if len(v.inits) > 0 {
		w.Reason = ReasonPodInitializing
	}
	if v.end != nil {
		return w
	}
	for _, s := range []Step{
		{Kind: StepPrepareVolumes}, {Kind: StepCreateSandbox}, {Kind: StepCreateContainer, Container: Holder},
		{Kind: StepAttachNetwork}, {Kind: StepRemoveSandbox}, {Kind: StepDetachNetwork},
	} {
		if f, failed := v.failure(s); failed {
			w.Message = f.Message
			break
		}
	}
	return w
}
