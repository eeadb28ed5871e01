package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// RequestArgs are the parts of a CreateRequest that the pod does not tell.
type RequestArgs struct {
	// Container names a container or an init container of the pod.
	Container string
	// Number and Streak are those of the step.
	Number, Streak int
	Sandbox        Sandbox
	// Mounts are those that Volumes.Mounts returned.
	Mounts []Mount
	// Stdout and Stderr are paths of FIFOs; so is Stdin, where the container
	// wants one.
	Stdin, Stdout, Stderr string
	// Env are the container's variables, as EnvFor gave them.
	Env []EnvVar
	// NodeHostname is the hostname of the machine.
	NodeHostname string
	// NodeMemory is the node's memory in bytes.
	NodeMemory int64
}

// Request builds what the runtime needs to make an attempt. A container that
// the pod does not have, or that cannot be described, gives an error that
// wraps ErrConfig.
func Request(p *corev1.Pod, a RequestArgs) (CreateRequest, error) {
	c, init := FindContainer(p, a.Container)
	if c == nil {
		return CreateRequest{}, fmt.Errorf("%w: no container %q in the pod", ErrConfig, a.Container)
	}
	return CreateRequest{
		Pod: RefOf(p), Container: c.Name, Init: init, Number: a.Number, Streak: a.Streak,
		SpecHash: SpecHash(c), ImageName: c.Image,
		Command: expandAll(c.Command, a.Env), Args: expandAll(c.Args, a.Env), WorkingDir: c.WorkingDir, Env: a.Env,
		Mounts: a.Mounts, Sandbox: a.Sandbox, Hostname: HostnameOn(p, a.NodeHostname), HostPID: p.Spec.HostPID,
		Resources: ResourcesFor(c), OOMScoreAdj: OOMScoreAdj(p, c, a.NodeMemory),
		Stdin: a.Stdin, Stdout: a.Stdout, Stderr: a.Stderr, TTY: c.TTY, Security: SecurityFor(p, c),
	}, nil
}

// FindContainer returns the container of that name and whether it is an init
// container; nil where the pod has none.
func FindContainer(p *corev1.Pod, name string) (c *corev1.Container, init bool) {
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Name == name {
			return &p.Spec.Containers[i], false
		}
	}
	for i := range p.Spec.InitContainers {
		if p.Spec.InitContainers[i].Name == name {
			return &p.Spec.InitContainers[i], true
		}
	}
	return nil, false
}

// IsInit says whether the container has to end before those behind it begin:
// it is an init container, and no sidecar.
func IsInit(p *corev1.Pod, name string) bool {
	c, init := FindContainer(p, name)
	return init && !isSidecar(c)
}
