package pod

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	engine "github.com/carob-project/carob/pkg/pod"
)

// validateAllContainers checks both lists; a name is unique in the pod.
func validateAllContainers(s *corev1.PodSpec, volumes sets.Set[string], path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	if len(s.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), ""))
	}
	// App containers first: of two equal names, the init container's is told.
	lists := []struct {
		name       string
		containers []corev1.Container
	}{{"containers", s.Containers}, {"initContainers", s.InitContainers}}
	for _, list := range lists {
		hostPorts := sets.New[string]()
		var conflicts field.ErrorList
		for i := range list.containers {
			c, at := &list.containers[i], path.Child(list.name).Index(i)
			errs = append(errs, validateContainer(c, volumes, engine.OwnUsers(s), at)...)
			errs = append(errs, validateUse(c, s, names, list.name == "initContainers", at)...)
			if list.name == "initContainers" {
				hostPorts.Clear()
			}
			conflicts = append(conflicts, validateHostPorts(c.Ports, hostPorts, at.Child("ports"))...)
		}
		errs = append(errs, conflicts...)
	}
	return errs
}

// validateUse checks what depends on the list that a container is in.
func validateUse(c *corev1.Container, s *corev1.PodSpec, names sets.Set[string], init bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if init {
		errs = validateRestart(c, at)
	}
	if names.Has(c.Name) {
		errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
	} else if !init || c.Name != "" {
		names.Insert(c.Name)
	}
	errs = append(errs, validateLife(c, s, init, at)...)
	errs = append(errs, validateResizePolicies(c, s, init, at.Child("resizePolicy"))...)
	if !init {
		errs = append(errs, validateRestart(c, at)...)
	}
	return errs
}

// validateContainer checks what all containers have; ownUsers says whether the
// pod has a user namespace.
func validateContainer(c *corev1.Container, volumes sets.Set[string], ownUsers bool, path *field.Path) field.ErrorList {
	errs := validateLabelName(c.Name, path.Child("name"))
	errs = append(errs, required(path.Child("image"), c.Image)...)
	errs = append(errs, oneOf(path.Child("terminationMessagePolicy"), c.TerminationMessagePolicy,
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, validatePorts(c.Ports, path.Child("ports"))...)
	errs = append(errs, validateEnv(c.Env, path.Child("env"))...)
	errs = append(errs, validateEnvFrom(c.EnvFrom, path.Child("envFrom"))...)
	errs = append(errs, validateMounts(c.VolumeMounts, volumes, privileged(c.SecurityContext), path.Child("volumeMounts"))...)
	errs = append(errs, oneOf(path.Child("imagePullPolicy"), c.ImagePullPolicy,
		corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, validateResources(&c.Resources, path.Child("resources"))...)
	return append(errs, validateSecurity(c.SecurityContext, ownUsers, path.Child("securityContext"))...)
}

// validateLabelName checks the name of a container or volume.
func validateLabelName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return invalid(at, name, validation.IsDNS1123Label(name))
}

// validateImages is for pods: a template may have images that something
// replaces before there is a pod.
func validateImages(containers []corev1.Container, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range containers {
		if image := containers[i].Image; strings.TrimSpace(image) != image {
			errs = append(errs, field.Invalid(at.Index(i).Child("image"), image, "must not have leading or trailing whitespace"))
		}
	}
	return errs
}

func validatePorts(ports []corev1.ContainerPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, p := range ports {
		at := path.Index(i)
		if p.Name != "" {
			name := at.Child("name")
			bad := invalid(name, p.Name, validation.IsValidPortName(p.Name))
			if len(bad) == 0 && names.Has(p.Name) {
				bad = append(bad, field.Duplicate(name, p.Name))
			}
			names.Insert(p.Name)
			errs = append(errs, bad...)
		}
		if p.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, validatePortNumber(at.Child("containerPort"), p.ContainerPort)...)
		}
		if p.HostPort != 0 {
			errs = append(errs, validatePortNumber(at.Child("hostPort"), p.HostPort)...)
		}
		errs = append(errs, oneOf(at.Child("protocol"), p.Protocol,
			corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)...)
		if p.HostIP != "" {
			errs = append(errs, validateIP(at.Child("hostIP"), p.HostIP)...)
		}
	}
	return errs
}

func validatePortNumber(path *field.Path, port int32) field.ErrorList {
	return invalid(path, port, validation.IsValidPortNum(int(port)))
}

// validateSamePorts is for pods in the node's network.
func validateSamePorts(containers []corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range containers {
		for j, p := range containers[i].Ports {
			if p.HostPort != p.ContainerPort {
				errs = append(errs, field.Invalid(path.Index(i).Child("ports").Index(j).Child("hostPort"), p.HostPort,
					"must match `containerPort` when `hostNetwork` is true"))
			}
		}
	}
	return errs
}

// validateHostPorts finds ports of the node that the pod asks for twice.
func validateHostPorts(ports []corev1.ContainerPort, seen sets.Set[string], path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, p := range ports {
		if p.HostPort == 0 {
			continue
		}
		key := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort)
		if seen.Has(key) {
			errs = append(errs, field.Duplicate(path.Index(i).Child("hostPort"), key))
		}
		seen.Insert(key)
	}
	return errs
}

// validateMounts checks the mounts of a container. Kubernetes names no index
// where a value below a mount is wrong.
func validateMounts(mounts []corev1.VolumeMount, volumes sets.Set[string], privileged bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	paths := sets.New[string]()
	for i, m := range mounts {
		at := path.Index(i)
		errs = append(errs, required(at.Child("name"), m.Name)...)
		if !volumes.Has(m.Name) {
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		errs = append(errs, required(at.Child("mountPath"), m.MountPath)...)
		if paths.Has(m.MountPath) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		paths.Insert(m.MountPath)
		if m.SubPath != "" {
			// Kubernetes names the list here and not the mount in it.
			errs = append(errs, validateDescendingPath(path.Child("subPath"), m.SubPath)...)
		}
		if m.SubPathExpr != "" {
			if m.SubPath != "" {
				errs = append(errs, field.Invalid(at.Child("subPathExpr"), m.SubPathExpr,
					"subPathExpr and subPath are mutually exclusive"))
			}
			errs = append(errs, validateDescendingPath(path.Child("subPathExpr"), m.SubPathExpr)...)
		}
		errs = append(errs, validatePropagation(m.MountPropagation, privileged, path.Child("mountPropagation"))...)
		errs = append(errs, validateRecursive(&m, path.Child("recursiveReadOnly"))...)
	}
	return errs
}

func privileged(sc *corev1.SecurityContext) bool {
	return sc != nil && sc.Privileged != nil && *sc.Privileged
}

func validatePropagation(mode *corev1.MountPropagationMode, privileged bool, at *field.Path) field.ErrorList {
	if mode == nil {
		return nil
	}
	if *mode == corev1.MountPropagationBidirectional && !privileged {
		return field.ErrorList{field.Forbidden(at, "Bidirectional mount propagation is available only to privileged containers")}
	}
	return known(at, *mode, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
}

func validateRecursive(m *corev1.VolumeMount, at *field.Path) field.ErrorList {
	if m.RecursiveReadOnly == nil || *m.RecursiveReadOnly == corev1.RecursiveReadOnlyDisabled {
		return nil
	}
	errs := known(at, *m.RecursiveReadOnly,
		corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible)
	if len(errs) > 0 {
		return errs
	}
	if !m.ReadOnly {
		errs = append(errs, field.Forbidden(at, "may only be specified when readOnly is true"))
	}
	if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
		errs = append(errs, field.Forbidden(at, "may only be specified when mountPropagation is None or not specified"))
	}
	return errs
}

func validateResources(r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	errs := ValidateResourceList(r.Limits, path.Child("limits"))
	errs = append(errs, ValidateResourceList(r.Requests, path.Child("requests"))...)
	for _, name := range slices.Sorted(maps.Keys(r.Requests)) {
		request := r.Requests[name]
		limit, ok := r.Limits[name]
		whole := alwaysWhole(string(name))
		switch {
		case !ok && whole:
			errs = append(errs, field.Required(path.Child("limits"), "Limit must be set for non overcommitable resources"))
		case ok && whole && request.Cmp(limit) != 0:
			errs = append(errs, field.Invalid(path.Child("requests"), request.String(),
				fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case ok && request.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(path.Child("requests"), request.String(),
				fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	return append(errs, validateHugePages(r, path)...)
}

// alwaysWhole says whether who asks for a resource gets all of it at once: it
// cannot be promised to others too.
func alwaysWhole(name string) bool {
	return strings.HasPrefix(name, corev1.ResourceHugePagesPrefix) ||
		strings.Contains(name, "/") && !strings.Contains(name, corev1.ResourceDefaultNamespacePrefix)
}

// ValidateResourceList checks amounts and names. The names that Kubernetes
// knows and carob does not are the field table's to refuse.
func ValidateResourceList(list corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(list)) {
		at := path.Key(string(name))
		errs = append(errs, ValidateResource(string(name), at)...)
		errs = append(errs, validateQuantity(at, list[name])...)
	}
	return errs
}

// ValidateResource checks the name of a resource of a container.
func ValidateResource(name string, at *field.Path) field.ErrorList {
	errs := invalid(at, name, validation.IsQualifiedName(name))
	switch plain := !strings.Contains(name, "/"); {
	case plain && len(errs) == 0 && !standardResource(name):
		errs = append(errs, field.Invalid(at, name, "must be a standard resource type or fully qualified"))
		fallthrough
	case plain && !knownResource(name):
		errs = append(errs, field.Invalid(at, name, "must be a standard resource for containers"))
	case !plain && !strings.Contains(name, "kubernetes.io/") && !extendedResource(name):
		errs = append(errs, field.Invalid(at, name, "doesn't follow extended resource name standard"))
	}
	return errs
}

// standardResource says whether Kubernetes knows the name, for quotas too.
func standardResource(name string) bool {
	switch corev1.ResourceName(name) {
	case corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
		corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers,
		corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
		corev1.ResourceStorage, corev1.ResourceRequestsStorage, corev1.ResourceServicesNodePorts,
		corev1.ResourceServicesLoadBalancers:
		return true
	}
	return knownResource(name) || strings.HasPrefix(name, corev1.ResourceRequestsHugePagesPrefix)
}

// extendedResource says whether a name that is not Kubernetes' own can stand in
// a quota, where it gets longer.
func extendedResource(name string) bool {
	return !strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+name)) == 0
}

func knownResource(name string) bool {
	switch corev1.ResourceName(name) {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return true
	}
	if strings.Contains(name, "/") {
		return len(validation.IsQualifiedName(name)) == 0
	}
	return strings.HasPrefix(name, corev1.ResourceHugePagesPrefix)
}
