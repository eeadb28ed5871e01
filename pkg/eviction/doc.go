// Package eviction decides, purely, when a node ends pods to save itself: pods
// that hold more of the local disk than they may, and pods that have to go
// because the node runs short of memory, disk or process IDs. Its texts are
// those that Kubernetes' clients know.
//
// It must not know how anything is measured or carried out: it does no I/O,
// starts nothing and reads no clock.
package eviction
