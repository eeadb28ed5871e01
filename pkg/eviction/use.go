package eviction

import (
	corev1 "k8s.io/api/core/v1"
)

// Disk is room on a file system.
type Disk struct {
	Bytes, Inodes int64
}

// Plus returns the sum of both.
func (d Disk) Plus(o Disk) Disk { return Disk{Bytes: d.Bytes + o.Bytes, Inodes: d.Inodes + o.Inodes} }

// ContainerUse is what one running container takes.
type ContainerUse struct {
	Name string
	// Memory is its working set in bytes; negative: not known.
	Memory int64
	// Rootfs is what it has written into its file system, Logs its log files.
	Rootfs, Logs Disk
	// DiskKnown says that Rootfs and Logs were measured.
	DiskKnown bool
}

// PodUse is what one pod takes of its node.
type PodUse struct {
	// Memory is the working set of the whole pod in bytes.
	Memory     int64
	Processes  int64
	Containers []ContainerUse
	// Volumes are those on the node's disk, by name.
	Volumes map[string]Disk
	// Files are the pod's other files, such as its hosts file.
	Files Disk
}

// Part names what of a pod's disk use lies on the file system in question.
type Part int

// The parts of a pod's disk use.
const (
	PartRootfs Part = 1 << iota
	PartLogs
	PartVolumes

	partAll = PartRootfs | PartLogs | PartVolumes
)

// Disk returns the pod's use of the disk in the given parts.
func (u PodUse) Disk(parts Part) Disk {
	var sum Disk
	for _, c := range u.Containers {
		if parts&PartRootfs != 0 {
			sum = sum.Plus(c.Rootfs)
		}
		if parts&PartLogs != 0 {
			sum = sum.Plus(c.Logs)
		}
	}
	if parts&PartVolumes != 0 {
		for _, v := range u.Volumes {
			sum = sum.Plus(v)
		}
	}
	return sum
}

// OnDisk says whether the volume lies on the node's disk and counts as the
// pod's own use of it.
func OnDisk(v *corev1.Volume) bool {
	return v.ConfigMap != nil || v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumDefault
}
