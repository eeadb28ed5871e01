package pod

import (
	corev1 "k8s.io/api/core/v1"
)

// Holder is the container of the attempt that holds the PID namespace which the
// containers of a pod share. No container of a pod can have this name. It is
// made after the sandbox and removed before it; when it ends, so do all
// processes of the pod, and the sandbox with them is of no more use.
const Holder = "@processes"

// holderOOMScore lets the kernel kill everything else of the pod first.
const holderOOMScore = -998

// SharesProcesses says whether the containers of a pod share a PID namespace of
// their own.
func SharesProcesses(p *corev1.Pod) bool {
	return isTrue(p.Spec.ShareProcessNamespace) && !p.Spec.HostPID
}

// HolderRequest builds what the runtime needs to make a pod's holder. handler is
// that of the pod's runtime class.
func HolderRequest(p *corev1.Pod, number int, s Sandbox, handler, nodeHostname string) CreateRequest {
	return CreateRequest{
		Handler: handler, Pod: RefOf(p), Container: Holder, Number: number, Sandbox: s, Holder: true,
		Hostname: HostnameOn(p, nodeHostname), OOMScoreAdj: holderOOMScore,
		Security: Security{NoNewPrivileges: true, ReadOnlyRoot: true, DropCapabilities: []string{"ALL"}, SELinux: SELinuxOf(p)},
	}
}

// findHolders tells the attempts that hold the pod's processes apart from the
// others. A sandbox whose holder has ended cannot be used.
func (v *view) findHolders(attempts []*Attempt) {
	v.holders = attempts
	for _, a := range attempts {
		switch {
		case a.State != AttemptExited:
			v.holder = a
		case v.whole && !a.CreatedAt.Before(v.o.Sandbox.CreatedAt):
			v.whole = false
		}
	}
}

// held says whether containers can be made, as far as the holder goes.
func (v *view) held() bool { return !SharesProcesses(v.pod) || v.holder != nil }

// holding says whether they can be started: what they leave behind is reaped.
func (v *view) holding() bool {
	return !SharesProcesses(v.pod) || v.holder != nil && v.holder.State == AttemptRunning
}

// hold brings up the holder in a sandbox that can be used.
func (pl *planner) hold() {
	switch {
	case !SharesProcesses(pl.pod) || !pl.whole:
	case pl.holder == nil:
		if len(pl.holders) == 0 && !pl.vanishing() {
			pl.add(Step{Kind: StepCreateContainer, Container: Holder})
		}
	case pl.holder.State == AttemptCreated:
		pl.add(Step{Kind: StepStartContainer, Container: Holder, Attempt: pl.holder.ID, Number: pl.holder.Number})
	}
}

// release removes what held the pod's processes, and says whether nothing of it
// is left. A holder that has ended stays until its sandbox is gone: it is what
// tells that this one cannot be used.
func (pl *planner) release() bool {
	for _, a := range pl.holders {
		pl.remove(a, "")
	}
	return len(pl.holders) == 0
}
