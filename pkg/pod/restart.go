package pod

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// restartingAll is the reason of a container that ended, or waits, because a
// rule asked for all containers of the pod to begin anew.
const (
	restartingAllReason  = "RestartingAllContainers"
	restartingAllMessage = "The container is removed because RestartAllContainers in place"
)

// matchingRule is the first restart rule that an exit code meets, or nil.
func matchingRule(c *corev1.Container, code int) *corev1.ContainerRestartRule {
	for i := range c.RestartPolicyRules {
		r := &c.RestartPolicyRules[i]
		if r.ExitCodes == nil {
			continue
		}
		listed := slices.Contains(r.ExitCodes.Values, int32(code))
		switch r.ExitCodes.Operator {
		case corev1.ContainerRestartRuleOnExitCodesOpIn:
			if listed {
				return r
			}
		case corev1.ContainerRestartRuleOnExitCodesOpNotIn:
			if !listed {
				return r
			}
		}
	}
	return nil
}

// Restarts says whether a container that ended with this code runs again: its
// rules decide first, then its own restart policy, then that of the pod.
func Restarts(s *corev1.PodSpec, c *corev1.Container, code int) bool {
	policy := s.RestartPolicy
	if c.RestartPolicy != nil {
		if r := matchingRule(c, code); r != nil && (r.Action == corev1.ContainerRestartRuleActionRestart ||
			r.Action == corev1.ContainerRestartRuleActionRestartAllContainers) {
			return true
		}
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return true
}

// RestartsAll says whether a rule of the pod can restart all its containers.
func RestartsAll(s *corev1.PodSpec) bool {
	has := func(c corev1.Container) bool {
		return slices.ContainsFunc(c.RestartPolicyRules, func(r corev1.ContainerRestartRule) bool {
			return r.Action == corev1.ContainerRestartRuleActionRestartAllContainers
		})
	}
	return slices.ContainsFunc(s.InitContainers, has) || slices.ContainsFunc(s.Containers, has)
}

// replaceable says whether a container that the agent itself stops, as after a
// failed probe, is started again: no exit code counts there, and so no rule.
func (v *view) replaceable(u *unit) bool {
	if u.c.RestartPolicy != nil {
		return *u.c.RestartPolicy != corev1.ContainerRestartPolicyNever
	}
	return v.policy() != corev1.RestartPolicyNever
}

// restartable says whether there is an end after which the container runs again.
func (v *view) restartable(u *unit) bool {
	return v.replaceable(u) || u.c.RestartPolicy != nil && len(u.c.RestartPolicyRules) > 0
}

// findReset finds the newest end of a container whose rule asks for all
// containers to begin anew. What was made before it counts for nothing, as with
// a new sandbox.
func (v *view) findReset() {
	if !RestartsAll(&v.pod.Spec) {
		return
	}
	v.each(func(u *unit) {
		if u.c.RestartPolicy == nil || u.ephemeral {
			return
		}
		for _, a := range u.all {
			if a.State != AttemptExited || a.Exit == nil || a.Exit.Lost || !a.finishedAt().After(v.epoch) {
				continue
			}
			r := matchingRule(u.c, a.code())
			if r == nil || r.Action != corev1.ContainerRestartRuleActionRestartAllContainers {
				continue
			}
			if v.trigger == nil || a.finishedAt().After(v.trigger.finishedAt()) {
				v.trigger = a
			}
		}
	})
	if v.trigger != nil && v.whole {
		v.epoch = later(v.epoch, v.trigger.finishedAt())
	}
}

// reset says whether an attempt was made before all containers were asked to
// begin anew.
func (v *view) reset(a *Attempt) bool {
	return v.trigger != nil && a != nil && a.CreatedAt.Before(v.trigger.finishedAt())
}

// resetting says whether some container has not begun anew yet.
func (v *view) resetting() bool {
	if v.trigger == nil {
		return false
	}
	open := false
	v.each(func(u *unit) {
		if !u.ephemeral && len(u.all) > 0 && v.reset(u.all[0]) {
			open = true
		}
	})
	return open
}

// stopForReset stops what was made before the reset and says whether something
// of it still lives.
func (pl *planner) stopForReset() bool {
	if pl.trigger == nil {
		return false
	}
	alive := false
	seconds := int64(MinStop / time.Second)
	pl.each(func(u *unit) {
		if u.ephemeral {
			return
		}
		for _, a := range u.all {
			if a.State != AttemptExited && pl.reset(a) {
				alive = true
				pl.stop(a, u, stopOrder{message: "killing", grace: &seconds, noHook: true})
			}
		}
	})
	return alive
}

// resetAlive says whether something made before the reset still lives.
func (v *view) resetAlive() bool {
	alive := false
	v.each(func(u *unit) { alive = alive || !u.ephemeral && u.live != nil && v.reset(u.live) })
	return alive
}

func resetState() *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{ExitCode: lostCode, Reason: restartingAllReason, Message: restartingAllMessage}
}
