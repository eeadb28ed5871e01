package job

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// textJob is a Job of three completions, one at a time.
func textJob(change func(*batchv1.JobSpec)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j", Namespace: "n", UID: "j", CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0))}}
	j.Spec = batchv1.JobSpec{
		Parallelism: ptr.To[int32](1), Completions: ptr.To[int32](3), BackoffLimit: ptr.To[int32](1), Suspend: ptr.To(false),
		CompletionMode: ptr.To(batchv1.NonIndexedCompletion), PodReplacementPolicy: ptr.To(batchv1.TerminatingOrFailed),
	}
	j.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c"}}}
	if change != nil {
		change(&j.Spec)
	}
	return j
}

// textPod is a pod of the Job that has ended as given; index -1 is none.
func textPod(name string, phase corev1.PodPhase, code int32, index int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: "n", UID: types.UID(name), Finalizers: []string{batchv1.JobTrackingFinalizer}, Annotations: map[string]string{},
	}}
	if index >= 0 {
		p.Annotations[batchv1.JobCompletionIndexAnnotation] = fmt.Sprint(index)
	}
	p.Spec.Containers = []corev1.Container{{Name: "c"}}
	p.Status.Phase = phase
	if phase != corev1.PodRunning {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.NewTime(time.Unix(1e9+5, 0))},
		}}}
	}
	return p
}

// TestTexts are those that users see when a Job ends or is held.
func TestTexts(t *testing.T) {
	failed := func(n int) []*corev1.Pod {
		var out []*corev1.Pod
		for i := range n {
			out = append(out, textPod(fmt.Sprint("f", i), corev1.PodFailed, 3, -1))
		}
		return out
	}
	indexed := func(s *batchv1.JobSpec) {
		s.CompletionMode, s.Parallelism = ptr.To(batchv1.IndexedCompletion), ptr.To[int32](3)
		s.BackoffLimit, s.BackoffLimitPerIndex = ptr.To[int32](1<<31-1), ptr.To[int32](0)
	}
	for _, tc := range []struct {
		name   string
		change func(*batchv1.JobSpec)
		pods   []*corev1.Pod
		age    time.Duration
		want   string
	}{
		{"all succeeded", nil, []*corev1.Pod{
			textPod("a", corev1.PodSucceeded, 0, -1), textPod("b", corev1.PodSucceeded, 0, -1), textPod("c", corev1.PodSucceeded, 0, -1),
		}, 0, "SuccessCriteriaMet CompletionsReached: Reached expected number of succeeded pods"},
		{"too many failed", nil, failed(2), 0, "FailureTarget BackoffLimitExceeded: Job has reached the specified backoff limit"},
		{"one failed", nil, failed(1), 0, ""},
		{
			"too late", func(s *batchv1.JobSpec) { s.ActiveDeadlineSeconds = ptr.To[int64](60) }, nil, time.Minute,
			"FailureTarget DeadlineExceeded: Job was active longer than specified deadline",
		},
		{"in time", func(s *batchv1.JobSpec) { s.ActiveDeadlineSeconds = ptr.To[int64](60) }, nil, 59 * time.Second, ""},
		{"held", func(s *batchv1.JobSpec) { s.Suspend = ptr.To(true) }, nil, 0, "Suspended JobSuspended: Job suspended"},
		{
			"an index failed", indexed,
			[]*corev1.Pod{textPod("a", corev1.PodSucceeded, 0, 0), textPod("b", corev1.PodFailed, 1, 1), textPod("c", corev1.PodSucceeded, 0, 2)}, 0,
			"FailureTarget FailedIndexes: Job has failed indexes",
		},
		{
			"too many indexes failed", func(s *batchv1.JobSpec) { indexed(s); s.MaxFailedIndexes = ptr.To[int32](1) },
			[]*corev1.Pod{textPod("a", corev1.PodFailed, 1, 0), textPod("b", corev1.PodFailed, 1, 1)}, 0,
			"FailureTarget MaxFailedIndexesExceeded: Job has exceeded the specified maximal number of failed indexes",
		},
		{
			"a success is enough", func(s *batchv1.JobSpec) {
				indexed(s)
				s.BackoffLimit, s.BackoffLimitPerIndex = ptr.To[int32](6), nil
				s.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededCount: ptr.To[int32](2)}, {SucceededIndexes: ptr.To("0")}}}
			},
			[]*corev1.Pod{textPod("a", corev1.PodSucceeded, 0, 0), textPod("b", corev1.PodRunning, 0, 1)}, 0,
			"SuccessCriteriaMet SuccessPolicy: Matched rules at index 1",
		},
		{
			"an exit code ends it", func(s *batchv1.JobSpec) {
				s.BackoffLimit = ptr.To[int32](6)
				s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
					{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}},
					{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{3}}},
				}}
			}, failed(1), 0,
			"FailureTarget PodFailurePolicy: Container c for pod n/f0 failed with exit code 3 matching FailJob rule at index 1",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := textJob(tc.change)
			start := metav1.NewTime(time.Unix(1e9, 0))
			if !*j.Spec.Suspend {
				j.Status.StartTime = &start
			}
			d := Decide(Observed{Job: j, Pods: tc.pods, Released: map[types.UID]bool{}, Settled: true, Now: start.Add(tc.age)})
			var got []string
			for _, c := range d.Status.Conditions {
				if c.Status == corev1.ConditionTrue {
					got = append(got, fmt.Sprintf("%s %s: %s", c.Type, c.Reason, c.Message))
				}
			}
			if tc.want == "" && len(got) > 0 || tc.want != "" && !slices.Contains(got, tc.want) {
				t.Errorf("conditions\n%s\nwant\n%s", strings.Join(got, "\n"), tc.want)
			}
		})
	}
}

// TestRulesOfFailures: the first rule that matches decides.
func TestRulesOfFailures(t *testing.T) {
	codes := func(action batchv1.PodFailurePolicyAction, op batchv1.PodFailurePolicyOnExitCodesOperator, container *string, values ...int32) batchv1.PodFailurePolicyRule {
		return batchv1.PodFailurePolicyRule{Action: action, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{ContainerName: container, Operator: op, Values: values}}
	}
	in, notIn := batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn
	disrupted := textPod("d", corev1.PodFailed, 137, -1)
	disrupted.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}
	onDisruption := batchv1.PodFailurePolicyRule{Action: batchv1.PodFailurePolicyActionFailJob, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
		{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue},
	}}
	three := textPod("p", corev1.PodFailed, 3, -1)
	for _, tc := range []struct {
		name  string
		pod   *corev1.Pod
		rules []batchv1.PodFailurePolicyRule
		want  verdict
	}{
		{"no rules", three, nil, verdict{counts: true}},
		{"ignored", three, []batchv1.PodFailurePolicyRule{codes(batchv1.PodFailurePolicyActionIgnore, in, nil, 1, 3)}, verdict{}},
		{"another code", three, []batchv1.PodFailurePolicyRule{codes(batchv1.PodFailurePolicyActionIgnore, in, nil, 4)}, verdict{counts: true}},
		{"all but one", three, []batchv1.PodFailurePolicyRule{codes(batchv1.PodFailurePolicyActionIgnore, notIn, nil, 4)}, verdict{}},
		{"another container", three, []batchv1.PodFailurePolicyRule{codes(batchv1.PodFailurePolicyActionIgnore, in, ptr.To("x"), 3)}, verdict{counts: true}},
		{"counted at once", three, []batchv1.PodFailurePolicyRule{
			codes(batchv1.PodFailurePolicyActionCount, in, nil, 3), codes(batchv1.PodFailurePolicyActionFailJob, in, nil, 3),
		}, verdict{counts: true}},
		{"its index fails", three, []batchv1.PodFailurePolicyRule{codes(batchv1.PodFailurePolicyActionFailIndex, in, ptr.To("c"), 3)}, verdict{counts: true, failsIndex: true}},
		{"a condition", disrupted, []batchv1.PodFailurePolicyRule{codes(batchv1.PodFailurePolicyActionIgnore, in, nil, 3), onDisruption}, verdict{
			counts: true, failsJob: "Pod n/d has condition DisruptionTarget matching FailJob rule at index 1",
		}},
	} {
		if got := judge(&batchv1.PodFailurePolicy{Rules: tc.rules}, tc.pod); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}
