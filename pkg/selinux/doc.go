// Package selinux knows the labels of containers on a node with SELinux: which
// ones the node's policy has for them, what those of one container are, and how
// files get theirs.
//
// A label is user:role:type:level. Processes of containers have one, their
// files another. The type says what containers in general may do; the level's
// categories keep the files of one pod from the processes of another.
package selinux
