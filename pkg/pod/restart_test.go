package pod_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

const (
	always    = corev1.ContainerRestartPolicyAlways
	onFailure = corev1.ContainerRestartPolicyOnFailure
	never     = corev1.ContainerRestartPolicyNever
)

func rule(action corev1.ContainerRestartRuleAction, op corev1.ContainerRestartRuleOnExitCodesOperator, codes ...int32) corev1.ContainerRestartRule {
	return corev1.ContainerRestartRule{Action: action, ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: op, Values: codes}}
}

func TestRestarts(t *testing.T) {
	in42 := rule(corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleOnExitCodesOpIn, 42)
	notIn := rule(corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleOnExitCodesOpNotIn, 1, 2)
	all42 := rule(corev1.ContainerRestartRuleActionRestartAllContainers, corev1.ContainerRestartRuleOnExitCodesOpIn, 42)
	for _, tc := range []struct {
		name  string
		pod   corev1.RestartPolicy
		own   *corev1.ContainerRestartPolicy
		rules []corev1.ContainerRestartRule
		want  map[int]bool
	}{
		{"pod always", corev1.RestartPolicyAlways, nil, nil, map[int]bool{0: true, 1: true}},
		{"pod on failure", corev1.RestartPolicyOnFailure, nil, nil, map[int]bool{0: false, 1: true}},
		{"pod never", corev1.RestartPolicyNever, nil, nil, map[int]bool{0: false, 1: false}},
		{"own always", corev1.RestartPolicyNever, ptr.To(always), nil, map[int]bool{0: true, 1: true}},
		{"own on failure", corev1.RestartPolicyAlways, ptr.To(onFailure), nil, map[int]bool{0: false, 1: true}},
		{"own never", corev1.RestartPolicyAlways, ptr.To(never), nil, map[int]bool{0: false, 1: false}},
		{"in", corev1.RestartPolicyAlways, ptr.To(never), []corev1.ContainerRestartRule{in42}, map[int]bool{0: false, 1: false, 42: true}},
		{"not in", corev1.RestartPolicyAlways, ptr.To(never), []corev1.ContainerRestartRule{notIn}, map[int]bool{0: true, 1: false, 2: false, 3: true}},
		{"rules without own policy", corev1.RestartPolicyNever, nil, []corev1.ContainerRestartRule{in42}, map[int]bool{42: false}},
		{"all", corev1.RestartPolicyNever, ptr.To(never), []corev1.ContainerRestartRule{all42}, map[int]bool{1: false, 42: true}},
		{"no exit codes", corev1.RestartPolicyNever, ptr.To(never), []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestart}}, map[int]bool{0: false}},
	} {
		c := &corev1.Container{Name: "c", RestartPolicy: tc.own, RestartPolicyRules: tc.rules}
		for code, want := range tc.want {
			if got := pod.Restarts(&corev1.PodSpec{RestartPolicy: tc.pod}, c, code); got != want {
				t.Errorf("%s, code %d: %v", tc.name, code, got)
			}
		}
	}
}

// exits makes the attempts of each container end with these codes, one after
// the other; one that has no code left runs on.
func exits(codes map[string][]int) func(string, int) podtest.Program {
	return func(c string, n int) podtest.Program {
		if n < len(codes[c]) {
			return podtest.Program{Lasts: time.Second, Code: codes[c][n]}
		}
		return podtest.Program{Lasts: podtest.Forever}
	}
}

func TestOwnRestartPolicies(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyNever, "once", "again")
	p.Spec.Containers[1].RestartPolicy = ptr.To(onFailure)
	s := podtest.NewSim(p, epoch)
	s.Program = exits(map[string][]int{"once": {0}, "again": {3, 0}})
	settle(t, s, time.Minute)
	st := s.Pod.Status
	if st.Phase != corev1.PodSucceeded || st.ContainerStatuses[0].RestartCount != 0 || st.ContainerStatuses[1].RestartCount != 1 {
		t.Errorf("status %+v", st)
	}
}

func TestAlwaysPodEndsWhenNoContainerRestarts(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a", "b")
	p.Spec.Containers[0].RestartPolicy, p.Spec.Containers[1].RestartPolicy = ptr.To(never), ptr.To(onFailure)
	s := podtest.NewSim(p, epoch)
	s.Program = exits(map[string][]int{"a": {7}, "b": {0}})
	settle(t, s, time.Minute)
	if st := s.Pod.Status; st.Phase != corev1.PodFailed {
		t.Errorf("phase %s", st.Phase)
	}
}

func TestInitContainerThatMayNotRestartFailsThePod(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	p.Spec.InitContainers = podtest.NewPod("", "i").Spec.Containers
	p.Spec.InitContainers[0].RestartPolicy = ptr.To(never)
	p.Spec.InitContainers[0].RestartPolicyRules = []corev1.ContainerRestartRule{
		rule(corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleOnExitCodesOpIn, 42),
	}
	s := podtest.NewSim(p, epoch)
	s.Program = exits(map[string][]int{"i": {42, 1}})
	settle(t, s, time.Minute)
	st := s.Pod.Status
	if st.Phase != corev1.PodFailed || st.InitContainerStatuses[0].RestartCount != 1 {
		t.Errorf("status %+v", st)
	}
	if w := st.ContainerStatuses[0].State.Waiting; w == nil || w.Reason != pod.ReasonPodInitializing {
		t.Errorf("state of the app: %+v", st.ContainerStatuses[0].State)
	}
}

func TestARuleRestartsAllContainers(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyNever, "source", "done", "runs")
	p.Spec.InitContainers = podtest.NewPod("", "i").Spec.Containers
	p.Spec.Containers[0].RestartPolicy = ptr.To(never)
	p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{
		rule(corev1.ContainerRestartRuleActionRestartAllContainers, corev1.ContainerRestartRuleOnExitCodesOpIn, 42),
	}
	s := podtest.NewSim(p, epoch)
	s.Program = func(c string, n int) podtest.Program {
		switch {
		case c == "i":
			return podtest.Program{}
		case c == "source" && n == 0:
			return podtest.Program{Lasts: 5 * time.Second, Code: 42}
		case c == "done":
			return podtest.Program{Lasts: time.Second}
		}
		return podtest.Program{Lasts: podtest.Forever}
	}
	settle(t, s, 4*time.Second)
	if c := condition(t, s.Pod.Status, corev1.AllContainersRestarting); c.Status != corev1.ConditionFalse {
		t.Errorf("condition %+v", c)
	}
	s.Advance(5 * time.Second)
	s.Plan()
	if c := condition(t, s.Pod.Status, corev1.AllContainersRestarting); c.Status != corev1.ConditionTrue || c.Reason != "RestartAllContainersStarted" {
		t.Errorf("condition %+v", c)
	}
	settle(t, s, 30*time.Second)
	st := s.Pod.Status
	if st.Phase != corev1.PodRunning {
		t.Errorf("phase %s", st.Phase)
	}
	for _, cs := range append(st.InitContainerStatuses, st.ContainerStatuses...) {
		if cs.RestartCount != 1 {
			t.Errorf("%s: restarted %d times", cs.Name, cs.RestartCount)
		}
	}
	if l := st.ContainerStatuses[2].LastTerminationState.Terminated; l == nil || l.Reason != "RestartingAllContainers" || l.ExitCode != 137 {
		t.Errorf("last state %+v", l)
	}
	if c := condition(t, st, corev1.AllContainersRestarting); c.Status != corev1.ConditionFalse {
		t.Errorf("condition %+v", c)
	}
}
