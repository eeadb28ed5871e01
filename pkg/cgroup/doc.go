// Package cgroup makes and removes the control groups that lie above a pod's
// containers: the instance's root, Kubernetes' QoS levels and one group a pod.
// The containers' own groups below them are the runtime's.
//
// It serves cgroup v1 (every controller in its own hierarchy, with or without
// a v2 hierarchy beside them) and v2, by writing the files itself or by asking
// systemd for slices. It must not know containerd, CNI or the Kubernetes API.
package cgroup
