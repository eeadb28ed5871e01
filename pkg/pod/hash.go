package pod

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
)

// hashed is what of a container makes another process of it. It is spelled out
// rather than taken from the API type, so that a field which a later version
// adds or defaults restarts nothing. Fields may be added here only with
// omitempty.
type hashed struct {
	Name       string        `json:"name"`
	Image      string        `json:"image"`
	Command    []string      `json:"command,omitempty"`
	Args       []string      `json:"args,omitempty"`
	WorkingDir string        `json:"workingDir,omitempty"`
	Env        []EnvVar      `json:"env,omitempty"`
	EnvFrom    []string      `json:"envFrom,omitempty"`
	Mounts     []hashedMount `json:"mounts,omitempty"`

	// Only in the hashes of versions that could not resize; see legacyHash.
	CPURequest int64 `json:"cpuRequest,omitempty"`
	CPULimit   int64 `json:"cpuLimit,omitempty"`
	Memory     int64 `json:"memory,omitempty"`
}

type hashedMount struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	SubPath  string `json:"subPath,omitempty"`
	ReadOnly bool   `json:"readOnly,omitempty"`

	SubPathExpr string `json:"subPathExpr,omitempty"`
}

// hashedEnvFrom names where variables come from; their values do not count, as
// a changed ConfigMap restarts nothing.
func hashedEnvFrom(c *corev1.Container) []string {
	var out []string
	for _, f := range c.EnvFrom {
		switch {
		case f.ConfigMapRef != nil:
			out = append(out, f.Prefix+"=configMap/"+f.ConfigMapRef.Name)
		case f.SecretRef != nil:
			out = append(out, f.Prefix+"=secret/"+f.SecretRef.Name)
		}
	}
	for _, e := range c.Env {
		switch from := e.ValueFrom; {
		case from == nil:
		case from.FieldRef != nil:
			out = append(out, e.Name+"=field/"+from.FieldRef.FieldPath)
		case from.ResourceFieldRef != nil:
			r := from.ResourceFieldRef
			out = append(out, e.Name+"=resource/"+r.ContainerName+"/"+r.Resource+"/"+r.Divisor.String())
		case from.ConfigMapKeyRef != nil:
			out = append(out, e.Name+"=configMap/"+from.ConfigMapKeyRef.Name+"/"+from.ConfigMapKeyRef.Key)
		case from.SecretKeyRef != nil:
			out = append(out, e.Name+"=secret/"+from.SecretKeyRef.Name+"/"+from.SecretKeyRef.Key)
		}
	}
	return out
}

// SpecHash identifies what a container's spec asks of its process. An attempt
// with another hash than the spec's is replaced. The hash stays the same
// across versions of carob for a spec that means the same. Resources are not
// part of it: they change in place.
func SpecHash(c *corev1.Container) string { return sum(hashedOf(c)) }

// legacyHash is what versions of carob wrote that replaced a container to give
// it other resources. An attempt from before an upgrade has it until its first
// resize, and goes on.
func legacyHash(c *corev1.Container) string {
	h := hashedOf(c)
	h.CPURequest = c.Resources.Requests.Cpu().MilliValue()
	h.CPULimit = c.Resources.Limits.Cpu().MilliValue()
	h.Memory = c.Resources.Limits.Memory().Value()
	return sum(h)
}

func hashedOf(c *corev1.Container) hashed {
	h := hashed{Name: c.Name, Image: c.Image, Command: c.Command, Args: c.Args, WorkingDir: c.WorkingDir}
	for _, e := range c.Env {
		h.Env = append(h.Env, EnvVar{Name: e.Name, Value: e.Value})
	}
	h.EnvFrom = hashedEnvFrom(c)
	for _, m := range c.VolumeMounts {
		h.Mounts = append(h.Mounts, hashedMount{
			Name: m.Name, Path: m.MountPath, SubPath: m.SubPath, SubPathExpr: m.SubPathExpr, ReadOnly: m.ReadOnly,
		})
	}
	return h
}

func sum(h hashed) string {
	b, err := json.Marshal(h)
	if err != nil {
		// Strings and integers always marshal.
		return ""
	}
	all := sha256.Sum256(b)
	return hex.EncodeToString(all[:8])
}
