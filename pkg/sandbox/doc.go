// Package sandbox makes, keeps and removes what the containers of a pod share:
// pinned namespaces, a shared-memory mount, a cgroup and a network attachment.
// There is no process behind a sandbox.
//
// Each one is a directory named by the pod's UID with a record of what has been
// begun, written before it is begun, so that whatever a crash leaves can be
// removed. The package must not know containers, images or the API server.
//
// The namespaces are pinned by bind mounts in the directory as it is, without a
// mount of its own below them: where /run is shared the mounts spread to other
// mount namespaces, and leave them again with the unmount; where a copy got
// into a private one, removing the mount point takes it away there too.
package sandbox
