// Package agent is the node: it makes the pods that are bound to it run, and
// reports about them and itself.
//
// One worker a pod UID observes, asks pod.Plan what to do, carries the steps
// out and reports pod.Status. The agent keeps no database: what it needs to
// know after a crash it learns from the API, from the runtime's list of
// attempts and from the sandbox and volume directories. It must not know
// containerd, CNI or how volumes are made: it uses the interfaces of package
// pod and the few that it declares here.
package agent
