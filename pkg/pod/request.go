package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// RequestArgs are the parts of a CreateRequest that the pod does not tell.
type RequestArgs struct {
	// Container names a container of the pod, of whatever sort.
	Container string
	// Number and Streak are those of the step.
	Number, Streak int
	Sandbox        Sandbox
	// Handler is that of the pod's runtime class; empty: the node's default.
	Handler string
	// ProcessesOf is the ID of the attempt whose processes the container sees;
	// empty: its own.
	ProcessesOf string
	// Init says whether the container gets an init.
	Init bool
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
	// MemoryQoS is the node's, Allocatable its memory for pods in bytes.
	MemoryQoS   MemoryQoS
	Allocatable int64
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
		Handler: a.Handler, Pod: RefOf(p), Container: c.Name, Init: init, Number: a.Number, Streak: a.Streak,
		SpecHash: SpecHash(c), Applied: AppliedFor(p, c), ImageName: c.Image,
		Command: expandAll(c.Command, a.Env), Args: expandAll(c.Args, a.Env), WorkingDir: c.WorkingDir, Env: a.Env,
		Mounts: a.Mounts, Sandbox: a.Sandbox, Hostname: HostnameOn(p, a.NodeHostname), HostPID: p.Spec.HostPID,
		ProcessesOf: a.ProcessesOf, Reaper: a.Init,
		Resources: a.MemoryQoS.Container(ResourcesFor(p, c), p, c, a.Allocatable), OOMScoreAdj: OOMScoreAdj(p, c, a.NodeMemory),
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
	for i := range p.Spec.EphemeralContainers {
		if p.Spec.EphemeralContainers[i].Name == name {
			return asContainer(&p.Spec.EphemeralContainers[i]), false
		}
	}
	return nil, false
}

// TargetOf names the container whose processes an ephemeral container sees;
// empty where it has none, or the pod no such container.
func TargetOf(p *corev1.Pod, name string) string {
	for i := range p.Spec.EphemeralContainers {
		if p.Spec.EphemeralContainers[i].Name == name {
			return p.Spec.EphemeralContainers[i].TargetContainerName
		}
	}
	return ""
}

// IsInit says whether the container has to end before those behind it begin:
// it is an init container, and no sidecar.
func IsInit(p *corev1.Pod, name string) bool {
	c, init := FindContainer(p, name)
	return init && !isSidecar(c)
}

// ProcessesOf returns the ID of the attempt whose processes a container sees;
// empty where it has its own. The error wraps ErrConfig.
func ProcessesOf(p *corev1.Pod, container string, attempts []Attempt) (string, error) {
	if SharesProcesses(p) {
		for _, a := range attempts {
			if a.Container == Holder && a.State != AttemptExited {
				return a.ID, nil
			}
		}
		return "", fmt.Errorf("what holds the processes of the pod: %w", ErrNotFound)
	}
	target := TargetOf(p, container)
	if target == "" || p.Spec.HostPID {
		return "", nil
	}
	for _, a := range attempts {
		if a.Container == target && a.State == AttemptRunning {
			return a.ID, nil
		}
	}
	return "", configErrorf("unable to find target container %v", target)
}
