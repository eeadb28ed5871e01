// Package ctrd carries out attempts and keeps images on containerd. It is the
// only importer of the containerd client and implements pod.Runtime,
// pod.RuntimeView and pod.Images; it can also start a private containerd.
//
// It must not know CNI, volumes, the Kubernetes API or when a container should
// run: it does what it is told and tells what it sees. containerd is its only
// memory: whatever has to outlive a crash is in container labels.
package ctrd
