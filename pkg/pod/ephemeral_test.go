package pod_test

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

// debug adds an ephemeral container to a pod.
func debug(p *corev1.Pod, name, target string) {
	p.Generation++
	p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{
		TargetContainerName:      target,
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: name},
	})
}

func TestEphemeralContainersRunOnce(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	debug(s.Pod, "d", "a")
	wantSteps(t, s, "pull-image/d")
	settle(t, s, 0)
	st := s.Pod.Status.EphemeralContainerStatuses
	if len(st) != 1 || st[0].State.Running == nil || st[0].Ready || st[0].Started != nil {
		t.Fatalf("%+v", st)
	}
	if c := condition(t, s.Pod.Status, corev1.PodReady); c.Status != corev1.ConditionTrue {
		t.Fatalf("the pod is not ready beside it: %+v", c)
	}
	s.Exit("0000-1111-d-0", pod.Exit{Code: 3})
	settle(t, s, time.Hour)
	ended := s.Pod.Status.EphemeralContainerStatuses[0]
	if ended.State.Terminated == nil || ended.State.Terminated.ExitCode != 3 || ended.RestartCount != 0 {
		t.Fatalf("%+v", ended)
	}
	// Neither a lost attempt nor a new sandbox brings it back.
	s.Vanish("0000-1111-d-0")
	s.RestartAgent(func(pod.Step) bool { return true })
	settle(t, s, time.Hour)
	s.Reboot()
	settle(t, s, time.Hour)
	if e := s.Pod.Status.EphemeralContainerStatuses[0]; e.State.Terminated == nil || e.State.Terminated.ExitCode != 3 {
		t.Fatalf("%+v", e)
	}
}

func TestEphemeralContainersDoNotKeepAPod(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyNever, "a"))
	debug(s.Pod, "d", "")
	settle(t, s, 0)
	s.Exit("0000-1111-a-0", pod.Exit{})
	settle(t, s, time.Hour)
	if s.Pod.Status.Phase != corev1.PodSucceeded || s.Live() != 0 {
		t.Fatalf("phase %s, %d alive", s.Pod.Status.Phase, s.Live())
	}
	if e := s.Pod.Status.EphemeralContainerStatuses[0]; e.State.Terminated == nil {
		t.Fatalf("%+v", e)
	}
}

func TestEphemeralContainersWaitForNoInitContainer(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	p.Spec.InitContainers = podtest.NewPod(corev1.RestartPolicyAlways, "i").Spec.Containers
	s := podtest.NewSim(p, epoch)
	settle(t, s, 0)
	debug(s.Pod, "d", "")
	settle(t, s, 0)
	if e := s.Pod.Status.EphemeralContainerStatuses[0]; e.State.Running == nil || s.Pod.Status.Phase != corev1.PodPending {
		t.Fatalf("%s %+v", s.Pod.Status.Phase, e)
	}
}

func TestProcessesOf(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	debug(p, "d", "a")
	runs := []pod.Attempt{
		{ID: "old", Container: "a", State: pod.AttemptExited}, {ID: "new", Container: "a", Number: 1, State: pod.AttemptRunning},
	}
	if id, err := pod.ProcessesOf(p, "d", runs); id != "new" || err != nil {
		t.Error(id, err)
	}
	if id, err := pod.ProcessesOf(p, "a", runs); id != "" || err != nil {
		t.Error(id, err)
	}
	if _, err := pod.ProcessesOf(p, "d", runs[:1]); !errors.Is(err, pod.ErrConfig) || err.Error() != "unable to find target container a" {
		t.Error(err)
	}
}
