package cgroup

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// The levels between the root and a pod, as Kubernetes names them.
const (
	kubepods   = "kubepods"
	burstable  = "burstable"
	besteffort = "besteffort"
)

// QoS is the quality-of-service class of a pod, as in its status.
type QoS string

// The classes.
const (
	Guaranteed QoS = "Guaranteed"
	Burstable  QoS = "Burstable"
	BestEffort QoS = "BestEffort"
)

// PodName returns the name of a pod's group below the instance's root, such as
// kubepods/burstable/pod<uid>.
func PodName(qos QoS, uid string) string {
	leaf := "pod" + uid
	switch qos {
	case Guaranteed:
		return path.Join(kubepods, leaf)
	case Burstable:
		return path.Join(kubepods, burstable, leaf)
	default:
		return path.Join(kubepods, besteffort, leaf)
	}
}

// PodNames returns every name that the group of a pod can have, for a caller
// that does not know the class any more.
func PodNames(uid string) []string {
	return []string{PodName(Guaranteed, uid), PodName(Burstable, uid), PodName(BestEffort, uid)}
}

// PodUID returns the UID in the name of a pod's group.
func PodUID(name string) (uid string, ok bool) {
	return strings.CutPrefix(path.Base(name), "pod")
}

var element = regexp.MustCompile(`^[A-Za-z0-9_.:-]+$`)

// checkName refuses names that lead out of the tree or mean something else to
// systemd.
func checkName(name string) error {
	for part := range strings.SplitSeq(name, "/") {
		if !element.MatchString(part) || strings.HasPrefix(part, ".") {
			return fmt.Errorf("%w: %q", ErrName, name)
		}
	}
	return nil
}

// sliceName returns systemd's name for the group: a dash separates levels, so
// dashes of the elements themselves become underscores, as Kubernetes does.
func sliceName(root, name string) string {
	parts := strings.Split(strings.Trim(path.Join(root, name), "/"), "/")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(p, "-", "_")
	}
	return strings.Join(parts, "-") + ".slice"
}

// slicePath returns where in a hierarchy systemd puts a slice: one directory a
// level, each with its full name.
func slicePath(slice string) string {
	parts := strings.Split(strings.TrimSuffix(slice, ".slice"), "-")
	dirs := make([]string, 0, len(parts))
	for i := range parts {
		dirs = append(dirs, strings.Join(parts[:i+1], "-")+".slice")
	}
	return "/" + strings.Join(dirs, "/")
}

// levels returns the names from the topmost below the root down to name
// itself.
func levels(name string) []string {
	var all []string
	for n := name; n != "." && n != "/" && n != ""; n = path.Dir(n) {
		all = append([]string{n}, all...)
	}
	return all
}
