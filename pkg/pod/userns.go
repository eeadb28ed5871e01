package pod

import corev1 "k8s.io/api/core/v1"

// IDRange are the IDs of users and groups that a pod has for itself: First and
// those that follow stand on the node for 0 and those that follow in the pod's
// user namespace. Its zero value: the pod's IDs are the node's.
type IDRange struct {
	First uint32 `json:"first"`
	Size  uint32 `json:"size"`
}

// Mapped says whether there is such a range.
func (r IDRange) Mapped() bool { return r.Size > 0 }

// Outside returns what stands on the node for an ID of an image: itself, where
// the pod has no such ID.
func (r IDRange) Outside(id uint32) uint32 {
	if id >= r.Size {
		return id
	}
	return r.First + id
}

// OwnUsers says whether a pod has a user namespace of its own.
func OwnUsers(s *corev1.PodSpec) bool { return s.HostUsers != nil && !*s.HostUsers }

// CheckOwnUsers refuses a user namespace that the pod's runtime cannot give, in
// the words of Kubernetes. The error wraps ErrConfig.
func CheckOwnUsers(p *corev1.Pod, handler string, f Features) error {
	switch {
	case !OwnUsers(&p.Spec) || f.UserNamespaces:
		return nil
	case handler != "":
		return configErrorf("can't set `spec.hostUsers: false`, RuntimeClass handler %q does not support user namespaces", handler)
	}
	return configErrorf("can't set `spec.hostUsers: false`, runtime does not support user namespaces")
}

// CheckIDs refuses to run a container as who does not exist in its pod's user
// namespace. The error wraps ErrConfig.
func (r IDRange) CheckIDs(user uint32, groups ...uint32) error {
	if !r.Mapped() {
		return nil
	}
	if user >= r.Size {
		return configErrorf("user %d is not among the %d users that a pod with `hostUsers: false` has", user, r.Size)
	}
	for _, g := range groups {
		if g >= r.Size {
			return configErrorf("group %d is not among the %d groups that a pod with `hostUsers: false` has", g, r.Size)
		}
	}
	return nil
}
