package pod

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// EnvSources is what a container's variables may come from beside its spec.
// What a container does not refer to may be left out.
type EnvSources struct {
	// ConfigMaps and Secrets by name; one that is not there is absent.
	ConfigMaps map[string]*corev1.ConfigMap
	Secrets    map[string]*corev1.Secret
	// Files of volumes, those of EnvFiles. One of a volume that the pod does
	// not have is absent.
	Files map[FileRef]EnvFile
	// PodIPs and HostIPs, the main one first.
	PodIPs, HostIPs []string
	// Services are variables that every container gets, unless it has one of
	// that name itself. References may name them.
	Services []EnvVar
	// Allocatable is what pods may use of the node: the limit of a
	// container that has none.
	Allocatable corev1.ResourceList
}

// Env is a container's environment.
type Env struct {
	Vars []EnvVar
	// Skipped are the names of envFrom that no variable can have.
	Skipped []SkippedNames
}

// SkippedNames are the unusable names of one object, sorted.
type SkippedNames struct {
	// Kind is configMap or secret, as the event of Kubernetes calls them.
	Kind, Name string
	Names      []string
}

// EnvRefs returns the names of the objects that a container's variables come
// from, each once and sorted.
func EnvRefs(c *corev1.Container) (configMaps, secrets []string) {
	for _, f := range c.EnvFrom {
		switch {
		case f.ConfigMapRef != nil:
			configMaps = append(configMaps, f.ConfigMapRef.Name)
		case f.SecretRef != nil:
			secrets = append(secrets, f.SecretRef.Name)
		}
	}
	for _, e := range c.Env {
		switch from := e.ValueFrom; {
		case from == nil:
		case from.ConfigMapKeyRef != nil:
			configMaps = append(configMaps, from.ConfigMapKeyRef.Name)
		case from.SecretKeyRef != nil:
			secrets = append(secrets, from.SecretKeyRef.Name)
		}
	}
	slices.Sort(configMaps)
	slices.Sort(secrets)
	return slices.Compact(configMaps), slices.Compact(secrets)
}

// needsPodIP says whether a container's variables tell the pod's IPs, so that
// it can only be made after the network is attached.
func needsPodIP(c *corev1.Container) bool {
	return slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
		return e.ValueFrom != nil && e.ValueFrom.FieldRef != nil &&
			(e.ValueFrom.FieldRef.FieldPath == fieldPodIP || e.ValueFrom.FieldRef.FieldPath == fieldPodIPs)
	})
}

// EnvFor returns a container's variables: those of envFrom, by source and then
// by name, then those of env in the order of the spec. A name that comes twice
// keeps its place and takes the later value. A reference in a value sees the
// variables before it. What is missing and not optional is an error that wraps
// ErrConfig, in the words of Kubernetes.
func EnvFor(p *corev1.Pod, c *corev1.Container, src EnvSources) (Env, error) {
	b := envBuilder{pod: p, container: c, src: src, index: map[string]int{}, known: map[string]string{}}
	for i := range c.EnvFrom {
		if err := b.from(&c.EnvFrom[i]); err != nil {
			return Env{}, err
		}
	}
	for i := range c.Env {
		e := &c.Env[i]
		if e.ValueFrom == nil {
			b.set(e.Name, Expand(e.Value, b.visible()))
			continue
		}
		value, found, err := b.value(e.ValueFrom)
		if err != nil {
			return Env{}, err
		}
		if found {
			b.set(e.Name, value)
		}
	}
	for _, v := range src.Services {
		if _, own := b.index[v.Name]; !own {
			b.set(v.Name, v.Value)
		}
	}
	return b.env, nil
}

// visible is what a reference may name: the variables so far, and those of
// services.
func (b *envBuilder) visible() map[string]string {
	if len(b.src.Services) == 0 {
		return b.known
	}
	all := make(map[string]string, len(b.known)+len(b.src.Services))
	for _, v := range b.src.Services {
		all[v.Name] = v.Value
	}
	maps.Copy(all, b.known)
	return all
}

// ServiceEnv returns the variables that tell of a service with one port, called
// portName, at an address.
func ServiceEnv(name, portName, address string, port uint16) []EnvVar {
	prefix, p := strings.ToUpper(strings.ReplaceAll(name, "-", "_")), strconv.Itoa(int(port))
	url := "tcp://" + net.JoinHostPort(address, p)
	return []EnvVar{
		{Name: prefix + "_SERVICE_HOST", Value: address},
		{Name: prefix + "_SERVICE_PORT", Value: p},
		{Name: prefix + "_SERVICE_PORT_" + strings.ToUpper(portName), Value: p},
		{Name: prefix + "_PORT", Value: url},
		{Name: prefix + "_PORT_" + p + "_TCP", Value: url},
		{Name: prefix + "_PORT_" + p + "_TCP_PROTO", Value: "tcp"},
		{Name: prefix + "_PORT_" + p + "_TCP_PORT", Value: p},
		{Name: prefix + "_PORT_" + p + "_TCP_ADDR", Value: address},
	}
}

type envBuilder struct {
	pod       *corev1.Pod
	container *corev1.Container
	src       EnvSources
	env       Env
	index     map[string]int
	known     map[string]string
}

func (b *envBuilder) set(name, value string) {
	b.known[name] = value
	if i, twice := b.index[name]; twice {
		b.env.Vars[i].Value = value
		return
	}
	b.index[name] = len(b.env.Vars)
	b.env.Vars = append(b.env.Vars, EnvVar{Name: name, Value: value})
}

// from takes all variables of one object.
func (b *envBuilder) from(f *corev1.EnvFromSource) error {
	switch {
	case f.ConfigMapRef != nil:
		c := b.src.ConfigMaps[f.ConfigMapRef.Name]
		if c == nil {
			return missing("configmap", f.ConfigMapRef.Name, f.ConfigMapRef.Optional)
		}
		b.setAll("configMap", f.ConfigMapRef.Name, f.Prefix, c.Data)
	case f.SecretRef != nil:
		s := b.src.Secrets[f.SecretRef.Name]
		if s == nil {
			return missing("secret", f.SecretRef.Name, f.SecretRef.Optional)
		}
		data := make(map[string]string, len(s.Data))
		for k, v := range s.Data {
			data[k] = string(v)
		}
		b.setAll("secret", f.SecretRef.Name, f.Prefix, data)
	}
	return nil
}

func (b *envBuilder) setAll(kind, object, prefix string, data map[string]string) {
	var skipped []string
	for _, key := range slices.Sorted(maps.Keys(data)) {
		name := prefix + key
		if len(validation.IsRelaxedEnvVarName(name)) > 0 {
			skipped = append(skipped, name)
			continue
		}
		b.set(name, data[key])
	}
	if len(skipped) > 0 {
		b.env.Skipped = append(b.env.Skipped, SkippedNames{Kind: kind, Name: object, Names: skipped})
	}
}

// value resolves a reference; found is false where it is optional and what it
// names is not there.
func (b *envBuilder) value(from *corev1.EnvVarSource) (value string, found bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = b.field(from.FieldRef.FieldPath)
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		ref := *from.ResourceFieldRef
		if ref.ContainerName == "" {
			ref.ContainerName = b.container.Name
		}
		value, err = ResourceText(b.pod, &ref, b.src.Allocatable)
		return value, err == nil, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		c := b.src.ConfigMaps[ref.Name]
		if c == nil {
			return "", false, missing("configmap", ref.Name, ref.Optional)
		}
		if value, found = c.Data[ref.Key]; found {
			return value, true, nil
		}
		return "", false, b.missingKey("ConfigMap", ref.Name, ref.Key, ref.Optional)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s := b.src.Secrets[ref.Name]
		if s == nil {
			return "", false, missing("secret", ref.Name, ref.Optional)
		}
		if data, found := s.Data[ref.Key]; found {
			return string(data), true, nil
		}
		return "", false, b.missingKey("Secret", ref.Name, ref.Key, ref.Optional)
	case from.FileKeyRef != nil:
		return b.file(from.FileKeyRef)
	}
	return "", false, configErrorf("a variable's valueFrom has no source")
}

func missing(kind, name string, optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return configErrorf("%s %q not found", kind, name)
}

func (b *envBuilder) missingKey(kind, name, key string, optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return configErrorf("couldn't find key %v in %s %v/%v", key, kind, b.pod.Namespace, name)
}

// field is a field of the pod as a variable shows it.
func (b *envBuilder) field(path string) (string, error) {
	switch path {
	case "spec.nodeName":
		return b.pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return b.pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(b.src.HostIPs), nil
	case "status.hostIPs":
		return strings.Join(b.src.HostIPs, ","), nil
	case fieldPodIP:
		return first(b.src.PodIPs), nil
	case fieldPodIPs:
		return strings.Join(b.src.PodIPs, ","), nil
	}
	return FieldText(b.pod, path)
}

func first(l []string) string {
	if len(l) == 0 {
		return ""
	}
	return l[0]
}

// configError is a fault in what a container refers to. It is an ErrConfig, and
// its text is as Kubernetes words it, without that sentinel's.
type configError struct{ text string }

func (e *configError) Error() string        { return e.text }
func (e *configError) Is(target error) bool { return target == ErrConfig }

func configErrorf(format string, args ...any) error {
	return &configError{text: fmt.Sprintf(format, args...)}
}
