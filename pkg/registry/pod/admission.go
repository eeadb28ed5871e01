package pod

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

const (
	// DefaultServiceAccount is what a pod gets that names none.
	DefaultServiceAccount = "default"
	// tolerationSeconds is how long a pod stays on a node that is lost.
	tolerationSeconds int64 = 300
)

// admit fills in what Kubernetes' built-in admission plugins add to a new
// pod. It differs from defaulting in that it holds for requests, not for
// everything that is decoded.
func admit(s *corev1.PodSpec) {
	if s.ServiceAccountName == "" && s.DeprecatedServiceAccount == "" {
		s.ServiceAccountName = DefaultServiceAccount
	}
	setPointer(&s.Priority, 0)
	setPointer(&s.PreemptionPolicy, corev1.PreemptLowerPriority)
	addNodeTolerations(s)
}

// readmit does the same for an update, in which clients leave out what they
// did not write themselves.
func readmit(s, old *corev1.PodSpec) {
	if s.ServiceAccountName == "" && s.DeprecatedServiceAccount == "" {
		s.ServiceAccountName = old.ServiceAccountName
	}
	if s.Priority == nil && old.Priority != nil {
		s.Priority = ptr.To(*old.Priority)
	}
	if s.PreemptionPolicy == nil && old.PreemptionPolicy != nil {
		s.PreemptionPolicy = ptr.To(*old.PreemptionPolicy)
	}
	mirrorServiceAccount(s)
	addNodeTolerations(s)
}

// mirrorServiceAccount keeps the deprecated alias and the field equal.
func mirrorServiceAccount(s *corev1.PodSpec) {
	setDefault(&s.ServiceAccountName, s.DeprecatedServiceAccount)
	s.DeprecatedServiceAccount = s.ServiceAccountName
}

// addNodeTolerations lets the pod stay for a while on a node that is not
// ready or not reachable, unless it says something about that itself.
func addNodeTolerations(s *corev1.PodSpec) {
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		said := slices.ContainsFunc(s.Tolerations, func(t corev1.Toleration) bool {
			return (t.Key == key || t.Key == "") &&
				(t.Effect == corev1.TaintEffectNoExecute || t.Effect == "")
		})
		if said {
			continue
		}
		s.Tolerations = append(s.Tolerations, corev1.Toleration{
			Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute,
			TolerationSeconds: ptr.To(tolerationSeconds),
		})
	}
}
