package pod_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

const holderID = "0000-1111-" + pod.Holder + "-0"

func sharingPod(policy corev1.RestartPolicy) *corev1.Pod {
	p := podtest.NewPod(policy, "a")
	share := true
	p.Spec.ShareProcessNamespace = &share
	return p
}

func TestHolderComesFirstAndGoesLast(t *testing.T) {
	s := podtest.NewSim(sharingPod(corev1.RestartPolicyAlways), epoch)
	wantSteps(t, s, "prepare-volumes create-sandbox pull-image/example.test/a:1")
	s.FinishAll()
	wantSteps(t, s, "attach-network create-container/@processes#0")
	s.FinishAll()
	wantSteps(t, s, "start-container/@processes-0 create-container/a#0")
	s.FinishAll()
	settle(t, s, 0)
	if s.Pod.Status.Phase != corev1.PodRunning || len(s.Pod.Status.ContainerStatuses) != 1 {
		t.Fatalf("%+v", s.Pod.Status)
	}
	s.Delete(0)
	wantSteps(t, s, "signal-container/a-0/9")
	settle(t, s, time.Minute)
	if !s.Done {
		t.Fatal("the pod is not gone")
	}
}

func TestHolderThatEndsTakesTheSandboxAlong(t *testing.T) {
	s := running(t, sharingPod(corev1.RestartPolicyAlways))
	made := s.Obs.Sandbox.CreatedAt
	s.Advance(time.Minute)
	s.Exit("0000-1111-a-0", pod.Exit{Code: 137, Signal: 9})
	s.Exit(holderID, pod.Exit{Code: 137, Signal: 9})
	settle(t, s, time.Minute)
	if !s.Obs.Sandbox.CreatedAt.After(made) {
		t.Fatal("the sandbox is the old one")
	}
	if c := app(s); c.State.Running == nil || c.RestartCount != 1 {
		t.Fatalf("%+v", c)
	}
	// The end of a container alone touches neither.
	made = s.Obs.Sandbox.CreatedAt
	s.Exit("0000-1111-a-1", pod.Exit{Code: 1})
	settle(t, s, time.Minute)
	if !s.Obs.Sandbox.CreatedAt.Equal(made) || app(s).RestartCount != 2 {
		t.Fatalf("%+v", app(s))
	}
}

func TestHolderGoesWithAPodThatEnds(t *testing.T) {
	s := running(t, sharingPod(corev1.RestartPolicyNever))
	s.Exit("0000-1111-a-0", pod.Exit{})
	settle(t, s, time.Minute)
	if s.Pod.Status.Phase != corev1.PodSucceeded || s.Attempt(holderID) != nil || s.Obs.Sandbox != nil {
		t.Fatalf("%s %+v", s.Pod.Status.Phase, s.Obs)
	}
}

func TestContainersOfASharingPodSeeItsHolder(t *testing.T) {
	p := sharingPod(corev1.RestartPolicyAlways)
	if _, err := pod.ProcessesOf(p, "a", nil); err == nil {
		t.Error("no holder, no error")
	}
	if id, err := pod.ProcessesOf(p, "a", []pod.Attempt{{ID: "h", Container: pod.Holder}}); id != "h" || err != nil {
		t.Error(id, err)
	}
	p.Annotations = map[string]string{pod.InitAnnotation: "false"}
	if pod.WantsInit(p, true) || !pod.WantsInit(podtest.NewPod("", "a"), true) || pod.WantsInit(podtest.NewPod("", "a"), false) {
		t.Error("the annotation does not win over the default")
	}
}
