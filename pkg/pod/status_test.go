package pod_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func TestStatusOfARunningPod(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	c := &p.Spec.Containers[0]
	c.Image = "web"
	c.Resources.Requests = quantities("cpu", "100m")
	c.Resources.Limits = quantities("memory", "64Mi")
	c.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}, {Name: "w", MountPath: "/w", ReadOnly: true}}
	scheduled := metav1.NewTime(epoch.Add(-time.Minute))
	p.Generation = 7
	p.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: scheduled},
		{Type: "example.test/Other", Status: corev1.ConditionTrue},
	}
	got := running(t, p).Pod.Status
	at := metav1.NewTime(epoch)
	yes, disabled := true, corev1.RecursiveReadOnlyDisabled
	ready := func(kind corev1.PodConditionType) corev1.PodCondition {
		return corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: at, ObservedGeneration: 7}
	}
	placed := p.Status.Conditions[0]
	placed.ObservedGeneration = 7
	want := corev1.PodStatus{
		ObservedGeneration: 7, Phase: corev1.PodRunning, StartTime: &at, QOSClass: corev1.PodQOSBurstable,
		HostIP: "192.0.2.1", HostIPs: []corev1.HostIP{{IP: "192.0.2.1"}},
		PodIP: "10.0.0.2", PodIPs: []corev1.PodIP{{IP: "10.0.0.2"}},
		Conditions: []corev1.PodCondition{
			p.Status.Conditions[1],
			ready(corev1.PodReadyToStartContainers), ready(corev1.PodInitialized), ready(corev1.PodReady), ready(corev1.ContainersReady),
			placed,
		},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "a", Image: "docker.io/library/web:latest", ImageID: "sha256:web", ContainerID: "containerd://0000-1111-a-0",
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}}, Ready: true, Started: &yes,
			AllocatedResources: quantities("cpu", "100m"),
			Resources:          &corev1.ResourceRequirements{Requests: quantities("cpu", "100m"), Limits: quantities("memory", "64Mi")},
			VolumeMounts: []corev1.VolumeMountStatus{
				{Name: "v", MountPath: "/v"}, {Name: "w", MountPath: "/w", ReadOnly: true, RecursiveReadOnly: &disabled},
			},
		}},
		AllocatedResources: quantities("cpu", "100m"),
		Resources:          &corev1.ResourceRequirements{Requests: quantities("cpu", "100m"), Limits: quantities("memory", "64Mi")},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestStatusBeforeAnythingRuns(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a", "b")
	p.Spec.InitContainers = podtest.NewPod("", "i").Spec.Containers
	st := pod.Status(p, pod.Observed{}, epoch)
	if st.Phase != corev1.PodPending || st.QOSClass != corev1.PodQOSBestEffort {
		t.Errorf("phase %s, class %s", st.Phase, st.QOSClass)
	}
	for _, cs := range slices.Concat(st.InitContainerStatuses, st.ContainerStatuses) {
		if cs.State.Waiting == nil || cs.State.Waiting.Reason != pod.ReasonPodInitializing || cs.Started == nil || *cs.Started || cs.ContainerID != "" {
			t.Errorf("%s: %+v", cs.Name, cs)
		}
	}
	for kind, want := range map[corev1.PodConditionType][3]string{
		corev1.PodReadyToStartContainers: {"False", "PodSandboxNotReady", "no pod sandbox exists"},
		corev1.PodInitialized:            {"False", "ContainersNotInitialized", "containers with incomplete status: [i]"},
		corev1.PodReady:                  {"False", "ContainersNotReady", "containers with unready status: [a b]"},
		corev1.ContainersReady:           {"False", "ContainersNotReady", "containers with unready status: [a b]"},
		corev1.PodScheduled:              {"True", "", ""},
	} {
		c := condition(t, st, kind)
		if got := [3]string{string(c.Status), c.Reason, c.Message}; got != want {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
}

func TestConditionsOfEndedPods(t *testing.T) {
	for _, tc := range []struct {
		code        int
		initialized string
		ready       string
	}{{0, "PodCompleted", "PodCompleted"}, {1, "", "PodFailed"}} {
		s := running(t, podtest.NewPod(corev1.RestartPolicyNever, "a"))
		s.Exit("0000-1111-a-0", pod.Exit{Code: tc.code})
		settle(t, s, time.Minute)
		st := s.Pod.Status
		if c := condition(t, st, corev1.PodInitialized); c.Status != corev1.ConditionTrue || c.Reason != tc.initialized {
			t.Errorf("code %d: %+v", tc.code, c)
		}
		if c := condition(t, st, corev1.PodReady); c.Status != corev1.ConditionFalse || c.Reason != tc.ready || c.Message != "" {
			t.Errorf("code %d: %+v", tc.code, c)
		}
		if c := condition(t, st, corev1.PodReadyToStartContainers); c.Status != corev1.ConditionFalse {
			t.Errorf("code %d: %+v", tc.code, c)
		}
	}
}

func TestTransitionTimes(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	before := condition(t, s.Pod.Status, corev1.PodReady)
	s.Advance(time.Minute)
	s.Plan()
	if c := condition(t, s.Pod.Status, corev1.PodReady); c != before {
		t.Errorf("%+v, before %+v", c, before)
	}
	s.Exit("0000-1111-a-0", pod.Exit{Code: 1})
	s.Plan()
	if c := condition(t, s.Pod.Status, corev1.PodReady); c.Status != corev1.ConditionFalse || !c.LastTransitionTime.Equal(&metav1.Time{Time: epoch.Add(time.Minute)}) {
		t.Errorf("%+v", c)
	}
}

func TestTerminatedStates(t *testing.T) {
	for _, tc := range []struct {
		name   string
		exit   pod.Exit
		code   int32
		reason string
		text   string
	}{
		{"completed", pod.Exit{Message: "bye"}, 0, "Completed", "bye"},
		{"error", pod.Exit{Code: 3}, 3, "Error", ""},
		{"killed", pod.Exit{Code: 137, Signal: 9}, 137, "Error", ""},
		{"memory", pod.Exit{Code: 137, OOMKilled: true}, 137, "OOMKilled", ""},
		{"memory of a child", pod.Exit{Code: 1, OOMKilled: true}, 1, "OOMKilled", ""},
		{"start", pod.Exit{Code: 128, StartError: "no such file"}, 128, "StartError", "no such file"},
		{"start without a code", pod.Exit{StartError: "no such file"}, 128, "StartError", "no such file"},
		{"lost", pod.Exit{Code: 137, Lost: true}, 137, "ContainerStatusUnknown", "The end of the container was not seen, as after a restart of the machine"},
	} {
		s := running(t, podtest.NewPod(corev1.RestartPolicyNever, "a"))
		s.Exit("0000-1111-a-0", tc.exit)
		s.Plan()
		got := s.Pod.Status.ContainerStatuses[0].State.Terminated
		if got == nil || got.ExitCode != tc.code || got.Reason != tc.reason || got.Message != tc.text ||
			got.ContainerID != "containerd://0000-1111-a-0" || got.StartedAt.IsZero() || got.FinishedAt.IsZero() {
			t.Errorf("%s: %+v", tc.name, got)
		}
		want := corev1.PodFailed
		if tc.code == 0 {
			want = corev1.PodSucceeded
		}
		if s.Pod.Status.Phase != want {
			t.Errorf("%s: phase %s", tc.name, s.Pod.Status.Phase)
		}
	}
}

func TestImageWaiting(t *testing.T) {
	ref := "example.test/a:1"
	pull := pod.Step{Kind: pod.StepPullImage, Image: ref}.ID()
	for _, tc := range []struct {
		name            string
		policy          corev1.PullPolicy
		present         bool
		failure         *pod.Failure
		after           time.Duration
		reason, message string
		steps           string
		wake            time.Duration
	}{
		{name: "to be pulled", reason: "ContainerCreating", steps: "pull-image/" + ref},
		{name: "failed just now", failure: &pod.Failure{Count: 1, Reason: "ErrImagePull", Message: "no route"}, after: time.Second,
			reason: "ErrImagePull", message: "no route", wake: 4 * time.Second},
		{name: "backed off", failure: &pod.Failure{Count: 1, Reason: "ErrImagePull", Message: "no route"}, after: 6 * time.Second,
			reason: "ImagePullBackOff", message: `Back-off pulling image "example.test/a:1": ErrImagePull: no route`, wake: 4 * time.Second},
		{name: "backed off for long", failure: &pod.Failure{Count: 9, Reason: "ErrImagePull"}, after: 6 * time.Second,
			reason: "ImagePullBackOff", message: `Back-off pulling image "example.test/a:1"`, wake: 294 * time.Second},
		{name: "again", failure: &pod.Failure{Count: 1, Reason: "ErrImagePull", Message: "no route"}, after: 10 * time.Second,
			reason: "ImagePullBackOff", message: `Back-off pulling image "example.test/a:1": ErrImagePull: no route`, steps: "pull-image/" + ref},
		{name: "bad name", failure: &pod.Failure{Count: 1, Reason: "InvalidImageName", Message: "bad", Final: true}, after: time.Hour,
			reason: "InvalidImageName", message: "bad"},
		{name: "never", policy: corev1.PullNever, reason: "ErrImageNeverPull",
			message: `Container image "example.test/a:1" is not present with pull policy of Never`, wake: 10 * time.Second},
		{name: "never, present", policy: corev1.PullNever, present: true, reason: "ContainerCreating", steps: "create-container/a#0"},
		{name: "present", present: true, reason: "ContainerCreating", steps: "create-container/a#0"},
		{name: "always, present", policy: corev1.PullAlways, present: true, reason: "ContainerCreating", steps: "pull-image/" + ref},
	} {
		p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
		if tc.policy != "" {
			p.Spec.Containers[0].ImagePullPolicy = tc.policy
		}
		now := epoch.Add(tc.after)
		o := pod.Observed{Sandbox: &pod.Sandbox{Attached: true, IPs: []string{"10.0.0.2"}, CreatedAt: epoch}, VolumesReady: true, VolumesPresent: true}
		if tc.present {
			o.Images = map[string]pod.Image{ref: {Name: ref, ID: "x"}}
		}
		if tc.failure != nil {
			tc.failure.At = epoch
			o.Failures = map[pod.StepID]pod.Failure{pull: *tc.failure}
		}
		d := pod.Plan(p, o, now)
		if got := names(d); got != tc.steps {
			t.Errorf("%s: steps %q, want %q", tc.name, got, tc.steps)
		}
		if wake := d.Wake.Sub(now); tc.wake != 0 && wake != tc.wake || tc.wake == 0 && !d.Wake.IsZero() {
			t.Errorf("%s: wakes at %v, want in %v", tc.name, d.Wake, tc.wake)
		}
		w := pod.Status(p, o, now).ContainerStatuses[0].State.Waiting
		if w == nil || w.Reason != tc.reason || w.Message != tc.message {
			t.Errorf("%s: waiting %+v", tc.name, w)
		}
	}
}

func TestAlwaysPullsOnceAnAttempt(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	p.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
	s := running(t, p)
	s.Exit("0000-1111-a-0", pod.Exit{Code: 1})
	wantSteps(t, s, "pull-image/example.test/a:1")
	s.FinishAll()
	wantSteps(t, s, "create-container/a#1")
	// A failed creation does not pull again.
	s.Fail(s.Flights()[0], false, pod.ReasonCreateContainer, "full")
	s.Advance(time.Second)
	wantSteps(t, s, "create-container/a#1")
}

func TestFailuresShowAsWaiting(t *testing.T) {
	s := podtest.NewSim(podtest.NewPod(corev1.RestartPolicyAlways, "a"), epoch)
	s.Plan()
	s.FinishAll()
	s.Plan()
	for _, st := range s.Flights() {
		if st.Kind == pod.StepCreateContainer {
			s.Fail(st, false, pod.ReasonCreateContainerConfig, "configmap x not found")
		} else {
			s.Finish(st)
		}
	}
	s.Plan()
	if w := s.Pod.Status.ContainerStatuses[0].State.Waiting; w == nil || w.Reason != "CreateContainerConfigError" || w.Message != "configmap x not found" {
		t.Errorf("waiting %+v", w)
	}
	s.Advance(time.Second)
	s.Plan()
	s.FinishAll()
	s.Plan()
	s.Fail(s.Flights()[0], false, "", "shim is gone")
	s.Plan()
	if w := s.Pod.Status.ContainerStatuses[0].State.Waiting; w == nil || w.Reason != "RunContainerError" || w.Message != "shim is gone" {
		t.Errorf("waiting %+v", w)
	}
}

func TestPendingUntilAllContainersRan(t *testing.T) {
	s := podtest.NewSim(podtest.NewPod(corev1.RestartPolicyAlways, "a", "b"), epoch)
	s.Plan()
	s.FinishAll()
	s.Plan()
	s.FinishAll()
	s.Plan()
	s.Finish(s.Flights()[0])
	if s.Plan(); s.Pod.Status.Phase != corev1.PodPending {
		t.Errorf("phase %s with one container running", s.Pod.Status.Phase)
	}
	s.FinishAll()
	if s.Plan(); s.Pod.Status.Phase != corev1.PodRunning {
		t.Errorf("phase %s", s.Pod.Status.Phase)
	}
}

func TestDeletedBeforeItsContainersRan(t *testing.T) {
	s := podtest.NewSim(podtest.NewPod(corev1.RestartPolicyAlways, "a"), epoch)
	s.Plan()
	s.FinishAll()
	s.Delete(30)
	s.Plan()
	st := s.Pod.Status
	if st.Phase != corev1.PodFailed {
		t.Errorf("phase %s", st.Phase)
	}
	if ts := st.ContainerStatuses[0].State.Terminated; ts == nil || ts.Reason != "ContainerStatusUnknown" || ts.ExitCode != 137 {
		t.Errorf("state %+v", st.ContainerStatuses[0].State)
	}
}

func TestLastStateOutlivesItsAttempt(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	s.Exit("0000-1111-a-0", pod.Exit{Code: 5})
	settle(t, s, 0)
	s.Vanish("0000-1111-a-0")
	s.Plan()
	last := s.Pod.Status.ContainerStatuses[0].LastTerminationState.Terminated
	if last == nil || last.ExitCode != 5 {
		t.Errorf("last state %+v", last)
	}
}

func TestStatusDoesNotShareMemory(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	before := s.Pod.DeepCopy()
	st := pod.Status(s.Pod, s.Obs, s.Now)
	st.ContainerStatuses[0].Name = "other"
	st.Conditions[0].Reason = "other"
	if d := cmp.Diff(before, s.Pod); d != "" {
		t.Error(d)
	}
}
