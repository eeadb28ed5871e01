package pod

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"

	engine "github.com/carob-project/carob/pkg/pod"
)

const immutableSpec = "pod updates may not change fields other than " +
	"`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`," +
	"`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

// ValidateUpdate returns what is wrong with a change of a pod. Metadata is
// checked by the generic registry. A spec that did not change is not checked
// again, so that a pod from an earlier version can still lose a finalizer.
func ValidateUpdate(p, old *corev1.Pod) field.ErrorList {
	if apiequality.Semantic.DeepEqual(p.Spec, old.Spec) {
		return nil
	}
	path := field.NewPath("spec")
	if errs := validateContainerCount(&p.Spec, &old.Spec, path); len(errs) > 0 {
		return errs
	}
	errs := validateSpec(&p.Spec, path)
	errs = append(errs, validateDeadlineUpdate(&p.Spec, &old.Spec, path)...)
	errs = append(errs, validateTolerationUpdate(p.Spec.Tolerations, old.Spec.Tolerations,
		path.Child("tolerations"))...)
	errs = append(errs, validateGatesUpdate(&p.Spec, &old.Spec, path)...)
	if rest := withMutableFieldsOf(&p.Spec, &old.Spec); !apiequality.Semantic.DeepEqual(*rest, old.Spec) {
		errs = append(errs, field.Forbidden(path, immutableSpec+"\n"+diff.Diff(old.Spec, *rest)))
	}
	return errs
}

func validateContainerCount(s, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	const detail = "pod updates may not add or remove containers"
	var errs field.ErrorList
	if len(s.Containers) != len(old.Containers) {
		errs = append(errs, field.Forbidden(path.Child("containers"), detail))
	}
	if len(s.InitContainers) != len(old.InitContainers) {
		errs = append(errs, field.Forbidden(path.Child("initContainers"), detail))
	}
	return errs
}

// withMutableFieldsOf returns the new spec with the old values of what may
// change, so that only forbidden changes are left. The lists of containers
// are of equal length.
func withMutableFieldsOf(s, old *corev1.PodSpec) *corev1.PodSpec {
	rest := s.DeepCopy()
	for i := range rest.Containers {
		rest.Containers[i].Image = old.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = old.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = old.ActiveDeadlineSeconds
	rest.Tolerations = old.Tolerations
	rest.SchedulingGates = old.SchedulingGates
	if len(old.SchedulingGates) > 0 {
		rest.NodeSelector = old.NodeSelector
		restoreNodeAffinity(rest, old)
	}
	was, is := old.TerminationGracePeriodSeconds, s.TerminationGracePeriodSeconds
	if was != nil && *was < 0 && is != nil && *is == 1 {
		rest.TerminationGracePeriodSeconds = was
	}
	return rest
}

// validateDeadlineUpdate lets a deadline appear or come nearer.
func validateDeadlineUpdate(s, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	at := path.Child("activeDeadlineSeconds")
	was, is := old.ActiveDeadlineSeconds, s.ActiveDeadlineSeconds
	switch {
	case was == nil:
		return nil
	case is == nil:
		return field.ErrorList{field.Invalid(at, is, "must not update from a positive integer to nil value")}
	case *is > *was:
		return field.ErrorList{field.Invalid(at, *is, "must be less than or equal to previous value")}
	default:
		return nil
	}
}

// validateTolerationUpdate lets tolerations be added, and their seconds change.
func validateTolerationUpdate(now, old []corev1.Toleration, at *field.Path) field.ErrorList {
	for i := range old {
		kept := slices.ContainsFunc(now, func(t corev1.Toleration) bool {
			return t.Key == old[i].Key && t.Operator == old[i].Operator &&
				t.Value == old[i].Value && t.Effect == old[i].Effect
		})
		if !kept {
			return field.ErrorList{field.Forbidden(at,
				"existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}

// ValidateStatusUpdate keeps what has ended for good from running again.
func ValidateStatusUpdate(p, old *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("status")
	if n := p.Status.NominatedNodeName; n != "" {
		errs = append(errs, validateNodeName(n, at.Child("nominatedNodeName"))...)
	}
	if p.Status.QOSClass != old.Status.QOSClass && old.Status.QOSClass != "" {
		errs = append(errs, field.Invalid(at.Child("qosClass"), p.Status.QOSClass, "field is immutable"))
	}
	for i, ip := range p.Status.PodIPs {
		errs = append(errs, validateIP(at.Child("podIPs").Index(i).Child("ip"), ip.IP)...)
	}
	for i, ip := range p.Status.HostIPs {
		errs = append(errs, validateIP(at.Child("hostIPs").Index(i).Child("ip"), ip.IP)...)
	}
	errs = append(errs, validateTransitions(p, old, at.Child("containerStatuses"))...)
	return append(errs, validateEphemeralTransitions(p, old, at.Child("ephemeralContainerStatuses"))...)
}

// validateEphemeralTransitions: an ephemeral container runs once.
func validateEphemeralTransitions(p, old *corev1.Pod, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, was := range old.Status.EphemeralContainerStatuses {
		if was.State.Terminated == nil {
			continue
		}
		for _, is := range p.Status.EphemeralContainerStatuses {
			if is.Name == was.Name && is.State.Terminated == nil {
				errs = append(errs, field.Forbidden(at.Index(i).Child("state"),
					"may not be transitioned to non-terminated state"))
			}
		}
	}
	return errs
}

// validateTransitions: a container that its restart policy leaves ended stays
// ended. Init containers are left out, as they run again in a new sandbox.
func validateTransitions(p, old *corev1.Pod, at *field.Path) field.ErrorList {
	if old.Spec.RestartPolicy == corev1.RestartPolicyAlways || engine.RestartsAll(&old.Spec) {
		return nil
	}
	var errs field.ErrorList
	for _, was := range old.Status.ContainerStatuses {
		end := was.State.Terminated
		if end == nil || (end.ExitCode != 0 && old.Spec.RestartPolicy == corev1.RestartPolicyOnFailure) {
			continue
		}
		if c, _ := engine.FindContainer(old, was.Name); c != nil && engine.Restarts(&old.Spec, c, int(end.ExitCode)) {
			continue
		}
		for i, is := range p.Status.ContainerStatuses {
			if is.Name == was.Name && is.State.Terminated == nil {
				errs = append(errs, field.Forbidden(at.Index(i).Child("state"),
					"may not be transitioned to non-terminated state"))
			}
		}
	}
	return errs
}
