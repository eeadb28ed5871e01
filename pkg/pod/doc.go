// Package pod is the pod engine: what a node has to do next for a pod, and
// what it reports about it.
//
// Plan and Status are pure: the pod object, an observation and the time go
// in; steps, notices, a wake-up time and a PodStatus come out. The package
// does no I/O and reads no clock. It declares, as small interfaces, the parts
// that carry its steps out (runtime, sandboxes, images, volumes); it must not
// know containerd, CNI, client-go or a file system.
package pod
