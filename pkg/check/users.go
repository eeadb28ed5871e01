package check

import "strings"

// Users is what keeps pods from having users of their own (hostUsers: false):
// why each part cannot map user IDs, or nothing.
type Users struct {
	Kernel, Runtime string
	// Data is the file system of the volumes, Images that of the containers'
	// root file systems.
	Data, Images string
}

// users is a note at most: a pod that asks for it is told, all others run.
func users(f Facts) Finding {
	const what = "hostUsers: false"
	u := f.Users
	switch {
	case u.Kernel != "":
		return Finding{what, Note, "not possible: the kernel: " + u.Kernel, "boot Linux 6.3 or later, with user namespaces allowed (user.max_user_namespaces)"}
	case u.Runtime != "":
		return Finding{what, Note, "not possible: the OCI runtime: " + u.Runtime, "install runc 1.2 or later"}
	case u.Data != "":
		return Finding{what, Note, "not possible for pods with volumes: " + u.Data, "put --data-dir on a file system such as ext4, xfs or btrfs"}
	case f.copiesImages():
		return Finding{What: what, Level: OK, Detail: "possible; containerd 1.x copies each container's image for it"}
	case u.Images != "":
		return Finding{what, Note, "not possible: images: " + u.Images, "put containerd's root on a file system such as ext4, xfs or btrfs, or set slow_chown of its snapshotter"}
	}
	return Finding{What: what, Level: OK, Detail: "possible"}
}

// copiesImages: containerd cannot map the IDs of images before 2.0.
func (f Facts) copiesImages() bool {
	v := f.SystemContainerd
	if v == "" {
		// containerd github.com/containerd/containerd 1.6.20 ...
		for word := range strings.FieldsSeq(f.ContainerdBinary) {
			if w := strings.TrimPrefix(word, "v"); w != "" && w[0] >= '0' && w[0] <= '9' {
				v = w
				break
			}
		}
	}
	return strings.HasPrefix(strings.TrimPrefix(v, "v"), "1.")
}
