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
		for i := range list.containers {
			c, at := &list.containers[i], path.Child(list.name).Index(i)
			errs = append(errs, validateName(at.Child("name"), c.Name, names)...)
			errs = append(errs, validateContainer(c, volumes, at)...)
			errs = append(errs, validateLife(c, s, list.name == "initContainers", at)...)
			errs = append(errs, validateHostPorts(c.Ports, hostPorts, at.Child("ports"))...)
			if s.HostNetwork {
				errs = append(errs, validateSamePorts(c.Ports, at.Child("ports"))...)
			}
		}
	}
	return errs
}

func validateContainer(c *corev1.Container, volumes sets.Set[string], path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch image := path.Child("image"); {
	case c.Image == "":
		errs = append(errs, field.Required(image, ""))
	case strings.TrimSpace(c.Image) != c.Image:
		errs = append(errs, field.Invalid(image, c.Image, "must not have leading or trailing whitespace"))
	}
	errs = append(errs, oneOf(path.Child("terminationMessagePolicy"), c.TerminationMessagePolicy,
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, oneOf(path.Child("imagePullPolicy"), c.ImagePullPolicy,
		corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, validatePorts(c.Ports, path.Child("ports"))...)
	errs = append(errs, validateSecurity(c.SecurityContext, path.Child("securityContext"))...)
	errs = append(errs, validateEnv(c.Env, path.Child("env"))...)
	errs = append(errs, validateEnvFrom(c.EnvFrom, path.Child("envFrom"))...)
	errs = append(errs, validateMounts(c.VolumeMounts, volumes, path.Child("volumeMounts"))...)
	return append(errs, validateResources(&c.Resources, path.Child("resources"))...)
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
func validateSamePorts(ports []corev1.ContainerPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, p := range ports {
		if p.HostPort != p.ContainerPort {
			errs = append(errs, field.Invalid(path.Index(i).Child("containerPort"), p.ContainerPort,
				"must match `hostPort` when `hostNetwork` is true"))
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

func validateMounts(mounts []corev1.VolumeMount, volumes sets.Set[string], path *field.Path) field.ErrorList {
	var errs field.ErrorList
	paths := sets.New[string]()
	for i, m := range mounts {
		at := path.Index(i)
		switch {
		case m.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case !volumes.Has(m.Name):
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		switch {
		case m.MountPath == "":
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		case paths.Has(m.MountPath):
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		paths.Insert(m.MountPath)
		if m.SubPath != "" {
			errs = append(errs, validateDescendingPath(at.Child("subPath"), m.SubPath)...)
		}
		if m.SubPathExpr != "" {
			if m.SubPath != "" {
				errs = append(errs, field.Invalid(at.Child("subPathExpr"), m.SubPathExpr,
					"subPathExpr and subPath are mutually exclusive"))
			}
			errs = append(errs, validateDescendingPath(at.Child("subPathExpr"), m.SubPathExpr)...)
		}
	}
	return errs
}

func validateResources(r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	errs := ValidateResourceList(r.Limits, path.Child("limits"))
	errs = append(errs, ValidateResourceList(r.Requests, path.Child("requests"))...)
	for _, name := range slices.Sorted(maps.Keys(r.Requests)) {
		request := r.Requests[name]
		limit, ok := r.Limits[name]
		if ok && request.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests"), request.String(),
				fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	return errs
}

// ValidateResourceList checks amounts and names. The names that Kubernetes
// knows and carob does not are the field table's to refuse.
func ValidateResourceList(list corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(list)) {
		at := path.Key(string(name))
		if !knownResource(string(name)) {
			errs = append(errs, field.Invalid(at, string(name), "must be a standard resource for containers"))
		}
		errs = append(errs, validateQuantity(at, list[name])...)
	}
	return errs
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
