package pod

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Texts of Kubernetes.
const (
	onlyCPUAndMemory = "only cpu and memory resources are mutable"
	sameClass        = "Pod QOS Class may not change as a result of resizing"
)

// ValidateResize returns what is wrong with a change of a pod's resources by
// the subresource resize. Metadata is checked by the generic registry.
func ValidateResize(p, old *corev1.Pod) field.ErrorList {
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	}
	path := field.NewPath("spec")
	errs := Refuse(resourcesOnly(&p.Spec), path)
	errs = append(errs, validateSpec(&p.Spec, path)...)
	if was := classOf(old); was != QOSClass(&p.Spec) {
		errs = append(errs, field.Invalid(path, p.Status.QOSClass, sameClass))
	}
	if !resizes(old) {
		errs = append(errs, field.Forbidden(path, "Pod running on node without support for resize"))
	}
	rest := p.Spec.DeepCopy()
	errs = append(errs, validatePodLevelResize(rest, &p.Spec, &old.Spec, path)...)
	if order := validateOrder(p, old, path); len(order) > 0 {
		return append(errs, order...)
	}
	errs = append(errs, validateRemoved(p.Spec.InitContainers, old.Spec.InitContainers, path.Child("initContainers"))...)
	errs = append(errs, validateRemoved(p.Spec.Containers, old.Spec.Containers, path.Child("containers"))...)
	for i := range rest.Containers {
		was := &old.Spec.Containers[i]
		restoreResizable(&rest.Containers[i].Resources, &was.Resources)
		if !apiequality.Semantic.DeepEqual(rest.Containers[i], *was) {
			errs = append(errs, field.Forbidden(path, onlyCPUAndMemory))
		}
	}
	errs = append(errs, validateInitResize(rest, &p.Spec, &old.Spec, path.Child("initContainers"))...)
	if len(errs) == 0 && !apiequality.Semantic.DeepEqual(*rest, old.Spec) {
		errs = append(errs, field.Forbidden(path, onlyCPUAndMemory))
	}
	return errs
}

// resourcesOnly is what of a spec a resize can change, for the table of the
// fields to judge.
func resourcesOnly(s *corev1.PodSpec) *corev1.PodSpec {
	only := func(l []corev1.Container) []corev1.Container {
		out := make([]corev1.Container, len(l))
		for i := range l {
			out[i] = corev1.Container{Name: l[i].Name, Resources: l[i].Resources, ResizePolicy: l[i].ResizePolicy}
		}
		return out
	}
	return &corev1.PodSpec{Resources: s.Resources, Containers: only(s.Containers), InitContainers: only(s.InitContainers)}
}

// classOf is the class in the status, which never changes.
func classOf(p *corev1.Pod) corev1.PodQOSClass {
	if p.Status.QOSClass != "" {
		return p.Status.QOSClass
	}
	return QOSClass(&p.Spec)
}

// resizes says whether the pod's node tells which resources its containers run
// with, which one that cannot resize does not.
func resizes(p *corev1.Pod) bool {
	i := slices.IndexFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.State.Running != nil })
	return i < 0 || p.Status.ContainerStatuses[i].Resources != nil
}

// validatePodLevelResize judges the resources of the pod as a whole, and gives
// rest the old ones where they may differ.
func validatePodLevelResize(rest, s, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	if !podLevelSet(s) && !podLevelSet(old) {
		return nil
	}
	at := path.Child("resources")
	if old.Resources != nil && s.Resources == nil {
		return field.ErrorList{field.Forbidden(at, "pod-level resources cannot be removed")}
	}
	var errs field.ErrorList
	var was corev1.ResourceRequirements
	if old.Resources != nil {
		was = *old.Resources
		if removed(s.Resources.Requests, was.Requests) {
			errs = append(errs, field.Forbidden(at.Child("requests"), "pod-level resource requests cannot be removed"))
		}
		if removed(s.Resources.Limits, was.Limits) {
			errs = append(errs, field.Forbidden(at.Child("limits"), "pod-level resource limits cannot be removed"))
		}
	}
	if r := rest.Resources; r != nil {
		restoreResizable(r, &was)
		if old.Resources == nil && len(r.Requests)+len(r.Limits)+len(r.Claims) == 0 {
			rest.Resources = nil
		}
	}
	if !apiequality.Semantic.DeepEqual(rest.Resources, old.Resources) {
		errs = append(errs, field.Forbidden(path, "only cpu and memory resources are mutable at pod-level"))
	}
	return errs
}

// validateOrder wants the containers to be the same ones in the same order.
func validateOrder(p, old *corev1.Pod, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	check := func(name string, now, was []corev1.Container) {
		at := path.Child(name)
		if len(now) != len(was) {
			errs = append(errs, field.Forbidden(at, name+" may not be added or removed on resize"))
			return
		}
		for i := range was {
			if now[i].Name != was[i].Name {
				errs = append(errs, field.Forbidden(at.Index(i).Child("name"), name+" may not be renamed or reordered on resize"))
			}
		}
	}
	check("containers", p.Spec.Containers, old.Spec.Containers)
	check("initContainers", p.Spec.InitContainers, old.Spec.InitContainers)
	return errs
}

// validateRemoved keeps every request and limit that is there.
func validateRemoved(now, old []corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range old {
		at := path.Index(i).Child("resources")
		if removed(now[i].Resources.Requests, old[i].Resources.Requests) {
			errs = append(errs, field.Forbidden(at.Child("requests"), "resource requests cannot be removed"))
		}
		if removed(now[i].Resources.Limits, old[i].Resources.Limits) {
			errs = append(errs, field.Forbidden(at.Child("limits"), "resource limits cannot be removed"))
		}
	}
	return errs
}

func removed(now, old corev1.ResourceList) bool {
	for name := range old {
		if _, ok := now[name]; !ok {
			return true
		}
	}
	return false
}

// restoreResizable gives r the old amounts of what may change.
func restoreResizable(r, old *corev1.ResourceRequirements) {
	r.Limits, r.Requests = restored(r.Limits, old.Limits), restored(r.Requests, old.Requests)
}

func restored(list, old corev1.ResourceList) corev1.ResourceList {
	if list == nil && old == nil {
		return nil
	}
	out := corev1.ResourceList{}
	for name, q := range list {
		out[name] = q
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		delete(out, name)
		if q, ok := old[name]; ok {
			out[name] = q
		}
	}
	return out
}

// validateInitResize is about init containers, of which those that are no
// sidecars run too briefly to be restarted for it.
func validateInitResize(rest, s, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range rest.InitContainers {
		was := &old.InitContainers[i]
		changed := !apiequality.Semantic.DeepEqual(s.InitContainers[i], *was)
		restoreResizable(&rest.InitContainers[i].Resources, &was.Resources)
		if !apiequality.Semantic.DeepEqual(rest.InitContainers[i], *was) {
			errs = append(errs, field.Forbidden(path.Index(i), "only cpu and memory resources for init or sidecar containers are mutable"))
		}
		if !changed || restartable(was) {
			continue
		}
		for _, p := range s.InitContainers[i].ResizePolicy {
			if p.RestartPolicy == corev1.RestartContainer {
				errs = append(errs, field.Forbidden(path.Index(i),
					"non-sidecar init containers with a resize policy of RestartContainer cannot be resized"))
			}
		}
	}
	return errs
}

// validateResizePolicies checks how a container takes a resize.
func validateResizePolicies(c *corev1.Container, s *corev1.PodSpec, init bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[corev1.ResourceName]()
	for i, p := range c.ResizePolicy {
		if seen.Has(p.ResourceName) {
			errs = append(errs, field.Duplicate(path.Index(i), p.ResourceName))
		}
		seen.Insert(p.ResourceName)
		errs = append(errs, requiredOneOf(path, p.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, requiredOneOf(path, p.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)...)
		if s.RestartPolicy == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			errs = append(errs, field.Invalid(path, p.RestartPolicy,
				"must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
		}
		if init && !restartable(c) && p.RestartPolicy == corev1.RestartContainer {
			errs = append(errs, field.Invalid(path.Index(i).Child("restartPolicy"), p.RestartPolicy,
				"must not be set to 'RestartContainer' for non-sidecar initContainers"))
		}
	}
	return errs
}

func requiredOneOf[T ~string](path *field.Path, value T, values ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	if !slices.Contains(values, value) {
		return field.ErrorList{field.NotSupported(path, value, values)}
	}
	return nil
}
