// Package nodestatus keeps the Node object and its Lease up to date: what the
// machine has, whether pods can run on it, and that its agent is alive.
//
// What the Node should say is computed purely from Facts; the Reporter writes
// it only when it differs from what the API has, and otherwise at a slow
// heartbeat, so that an idle node costs next to no writes. The package must
// not know pods, containerd or CNI: whether those work it is told by Checks.
package nodestatus
