package pod

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	engine "github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/registry/kind"
)

// ValidateStatusUpdate checks the form of a status, and keeps what has ended for
// good from running again.
func ValidateStatusUpdate(p, old *corev1.Pod) field.ErrorList {
	at := field.NewPath("status")
	notes := field.NewPath("metadata", "annotations")
	errs := validateAnnotationsUpdate(p.Annotations, old.Annotations, notes)
	errs = append(errs, validateAnnotations(checkedAnnotations(p, old), &p.Spec, notes)...)
	errs = append(errs, validateConditions(p.Status.Conditions, at.Child("conditions"))...)
	if n := p.Status.NominatedNodeName; n != "" && n != old.Status.NominatedNodeName {
		errs = append(errs, validateNodeName(n, at.Child("nominatedNodeName"))...)
		if old.Spec.NodeName != "" {
			errs = append(errs, field.Forbidden(at.Child("nominatedNodeName"), "may not be set on pods that are already bound to a node"))
		}
	}
	errs = append(errs, validateGeneration(p.Status.ObservedGeneration, at.Child("observedGeneration"))...)
	if p.Status.QOSClass != old.Status.QOSClass && old.Status.QOSClass != "" {
		errs = append(errs, field.Invalid(at.Child("qosClass"), p.Status.QOSClass, "field is immutable"))
	}
	errs = append(errs, validateTransitions(p, old, at.Child("containerStatuses"))...)
	errs = append(errs, validateEphemeralTransitions(p, old, at.Child("ephemeralContainerStatuses"))...)
	errs = append(errs, validateIPs(podIPs(p), podIPs(old), kind.GoNames{Value: p.Status.PodIPs}, at.Child("podIPs"))...)
	if ips := p.Status.HostIPs; len(ips) > 0 && ips[0].IP != p.Status.HostIP {
		errs = append(errs, field.Invalid(at.Child("hostIPs").Index(0).Child("ip"), ips[0].IP, "must be equal to `hostIP`"))
	}
	return append(errs, validateIPs(hostIPs(p), hostIPs(old), kind.GoNames{Value: p.Status.HostIPs}, at.Child("hostIPs"))...)
}

func validateConditions(conditions []corev1.PodCondition, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, c := range conditions {
		errs = append(errs, validateGeneration(c.ObservedGeneration, at.Index(i).Child("observedGeneration"))...)
		errs = append(errs, invalid(at.Index(i).Child("Type"), string(c.Type), validation.IsQualifiedName(string(c.Type)))...)
	}
	return errs
}

func validateGeneration(n int64, at *field.Path) field.ErrorList {
	if n < 0 {
		return field.ErrorList{field.Invalid(at, n, "must be a non-negative integer")}
	}
	return nil
}

func podIPs(p *corev1.Pod) []string {
	out := make([]string, len(p.Status.PodIPs))
	for i := range out {
		out[i] = p.Status.PodIPs[i].IP
	}
	return out
}

func hostIPs(p *corev1.Pod) []string {
	out := make([]string, len(p.Status.HostIPs))
	for i := range out {
		out[i] = p.Status.HostIPs[i].IP
	}
	return out
}

// validateIPs wants addresses, at most one of each family. Those that were there
// before may stay whatever they are.
func validateIPs(now, old []string, printed kind.GoNames, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, ip := range now {
		errs = append(errs, validation.IsValidIPForLegacyField(at.Index(i), ip, true, old)...)
	}
	if len(now) < 2 {
		return errs
	}
	if dual, err := netutils.IsDualStackIPStrings(now); err != nil || !dual || len(now) > 2 {
		errs = append(errs, field.Invalid(at, printed, "may specify no more than one IP for each IP family"))
	}
	return errs
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
