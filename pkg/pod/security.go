package pod

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Security is what the processes of an attempt are held to. Its zero value is
// what holds where a pod says nothing: the image's user, the runtime's default
// capabilities and its default seccomp profile.
type Security struct {
	// RunAsUser and RunAsGroup replace the image's; nil keeps them.
	RunAsUser, RunAsGroup *int64
	// RunAsNonRoot: an attempt as root is not made.
	RunAsNonRoot bool
	// SupplementalGroups are the pod's, its fsGroup included.
	SupplementalGroups []int64
	// StrictGroups leaves out the groups that the image's files name for
	// the user.
	StrictGroups bool
	// AddCapabilities and DropCapabilities have no CAP_ before their names;
	// ALL means all.
	AddCapabilities, DropCapabilities []string
	Privileged                        bool
	NoNewPrivileges                   bool
	ReadOnlyRoot                      bool
	// Unconfined means no seccomp filter, SeccompProfile one from a file on
	// the node, relative to the directory of such files.
	Unconfined     bool
	SeccompProfile string
	AppArmor       AppArmor
	// SELinux are the parts of the label that are not the node's to choose.
	SELinux corev1.SELinuxOptions
	// UnmaskedProc: nothing below /proc and /sys is hidden or read-only. It
	// is for pods with a user namespace, where the kernel still says no.
	UnmaskedProc bool
}

// SecurityFor merges the security contexts of a pod and of one of its
// containers; what the container says wins.
func SecurityFor(p *corev1.Pod, c *corev1.Container) Security {
	ps, cs := p.Spec.SecurityContext, c.SecurityContext
	if ps == nil {
		ps = &corev1.PodSecurityContext{}
	}
	if cs == nil {
		cs = &corev1.SecurityContext{}
	}
	s := Security{
		RunAsUser: either(cs.RunAsUser, ps.RunAsUser), RunAsGroup: either(cs.RunAsGroup, ps.RunAsGroup),
		RunAsNonRoot:       isTrue(either(cs.RunAsNonRoot, ps.RunAsNonRoot)),
		SupplementalGroups: slices.Clone(ps.SupplementalGroups),
		StrictGroups:       ps.SupplementalGroupsPolicy != nil && *ps.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict,
		Privileged:         isTrue(cs.Privileged),
		NoNewPrivileges:    cs.AllowPrivilegeEscalation != nil && !*cs.AllowPrivilegeEscalation,
		ReadOnlyRoot:       isTrue(cs.ReadOnlyRootFilesystem),
		AppArmor:           appArmorFor(p, c),
		SELinux:            seLinuxFor(p, c),
		UnmaskedProc:       cs.ProcMount != nil && *cs.ProcMount == corev1.UnmaskedProcMount,
	}
	if ps.FSGroup != nil && !slices.Contains(s.SupplementalGroups, *ps.FSGroup) {
		s.SupplementalGroups = append([]int64{*ps.FSGroup}, s.SupplementalGroups...)
	}
	if cs.Capabilities != nil {
		s.AddCapabilities = capabilityNames(cs.Capabilities.Add)
		s.DropCapabilities = capabilityNames(cs.Capabilities.Drop)
	}
	if profile := either(cs.SeccompProfile, ps.SeccompProfile); profile != nil {
		s.Unconfined = profile.Type == corev1.SeccompProfileTypeUnconfined
		if profile.Type == corev1.SeccompProfileTypeLocalhost && profile.LocalhostProfile != nil {
			s.SeccompProfile = *profile.LocalhostProfile
		}
	}
	if s.Privileged {
		s.Unconfined, s.SeccompProfile = true, ""
	}
	return s
}

func either[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func isTrue(b *bool) bool { return b != nil && *b }

// capabilityNames brings names into one form: NET_ADMIN.
func capabilityNames(l []corev1.Capability) []string {
	var out []string
	for _, c := range l {
		out = append(out, strings.TrimPrefix(strings.ToUpper(string(c)), "CAP_"))
	}
	return out
}

// CheckNonRoot refuses an attempt that would run as root although its pod says
// that it must not. imageUser is what the image's configuration names. The
// error wraps ErrConfig.
func CheckNonRoot(r *CreateRequest, imageUser string) error {
	s := &r.Security
	if !s.RunAsNonRoot {
		return nil
	}
	pod := r.Pod.Name + "_" + r.Pod.Namespace + "(" + string(r.Pod.UID) + ")"
	if s.RunAsUser != nil {
		if *s.RunAsUser == 0 {
			return configErrorf("container's runAsUser breaks non-root policy (pod: %q, container: %s)", pod, r.Container)
		}
		return nil
	}
	name, _, _ := strings.Cut(imageUser, ":")
	uid, err := strconv.ParseInt(name, 10, 64)
	switch {
	case name == "" || err == nil && uid == 0:
		return configErrorf("container has runAsNonRoot and image will run as root (pod: %q, container: %s)", pod, r.Container)
	case err != nil:
		return configErrorf("container has runAsNonRoot and image has non-numeric user (%s), "+
			"cannot verify user is non-root (pod: %q, container: %s)", name, pod, r.Container)
	}
	return nil
}

// FSGroup is the group that owns the pod's volumes, nil for none.
func FSGroup(p *corev1.Pod) *int64 {
	if p.Spec.SecurityContext == nil {
		return nil
	}
	return p.Spec.SecurityContext.FSGroup
}
