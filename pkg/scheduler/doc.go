// Package scheduler chooses a node for a pod, or says why none will do.
//
// Schedule is pure: a pod and a Snapshot of the nodes and of what runs on them
// go in, a node or an error that tells the reasons comes out; the same input
// gives the same answer. The package does no I/O and reads no clock. It must
// not know client-go, informers or how a pod is bound: that is the loop's.
package scheduler
