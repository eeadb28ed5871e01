package job

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// verdict is what the pod failure policy says of a failed pod.
type verdict struct {
	// counts: the failure counts towards the back-off limits.
	counts bool
	// failsIndex: the pod's index has failed, whatever its limit is.
	failsIndex bool
	// failsJob is the message with which the whole Job fails, if it does.
	failsJob string
}

// judge applies the first rule that matches. Without one a failure counts.
func judge(policy *batchv1.PodFailurePolicy, p *corev1.Pod) verdict {
	if policy == nil {
		return verdict{counts: true}
	}
	for i, rule := range policy.Rules {
		cause, ok := matches(rule, p)
		if !ok {
			continue
		}
		switch rule.Action {
		case batchv1.PodFailurePolicyActionIgnore:
			return verdict{}
		case batchv1.PodFailurePolicyActionFailIndex:
			return verdict{counts: true, failsIndex: true}
		case batchv1.PodFailurePolicyActionFailJob:
			return verdict{counts: true, failsJob: fmt.Sprintf("%s matching %v rule at index %d", cause, rule.Action, i)}
		default:
			return verdict{counts: true}
		}
	}
	return verdict{counts: true}
}

// matches tells what of the pod the rule is about.
func matches(rule batchv1.PodFailurePolicyRule, p *corev1.Pod) (cause string, ok bool) {
	if want := rule.OnExitCodes; want != nil {
		for _, s := range slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses) {
			if exitMatches(want, s) {
				return fmt.Sprintf("Container %s for pod %s/%s failed with exit code %d", s.Name, p.Namespace, p.Name, s.State.Terminated.ExitCode), true
			}
		}
		return "", false
	}
	for _, c := range p.Status.Conditions {
		for _, want := range rule.OnPodConditions {
			if c.Type == want.Type && c.Status == want.Status {
				return fmt.Sprintf("Pod %s/%s has condition %v", p.Namespace, p.Name, c.Type), true
			}
		}
	}
	return "", false
}

func exitMatches(want *batchv1.PodFailurePolicyOnExitCodesRequirement, s corev1.ContainerStatus) bool {
	end := s.State.Terminated
	if end == nil || end.ExitCode == 0 || want.ContainerName != nil && *want.ContainerName != s.Name {
		return false
	}
	listed := slices.Contains(want.Values, end.ExitCode)
	return listed == (want.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn)
}

// succeeded returns the message of the success policy's first rule that the
// completed indexes satisfy.
func succeeded(policy *batchv1.SuccessPolicy, completed Indexes, completions int) (string, bool) {
	if policy == nil {
		return "", false
	}
	for i, rule := range policy.Rules {
		have, want := len(completed), -1
		if rule.SucceededIndexes != nil {
			asked := ParseIndexes(*rule.SucceededIndexes, completions)
			if len(asked) == 0 {
				continue
			}
			have, want = 0, len(asked)
			for index := range asked {
				if completed.Has(index) {
					have++
				}
			}
		}
		if want >= 0 && have == want || rule.SucceededCount != nil && have >= int(*rule.SucceededCount) {
			return fmt.Sprintf("Matched rules at index %d", i), true
		}
	}
	return "", false
}
