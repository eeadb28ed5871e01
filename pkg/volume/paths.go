package volume

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// removingPrefix marks the directory of a pod whose removal has begun.
const removingPrefix = ".removing-"

// component says whether s can be a name in a directory of ours.
func component(s string) bool {
	if s == "" || len(s) > 200 || s[0] == '.' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}

// layout is where things of one pod are.
type layout struct{ dir string }

func (m *Manager) layout(uid types.UID) (layout, error) {
	if !component(string(uid)) {
		return layout{}, fmt.Errorf("pod UID %q cannot be a directory name", uid)
	}
	return layout{filepath.Join(m.opts.PodsDir, string(uid))}, nil
}

func (l layout) hosts() string      { return filepath.Join(l.dir, "etc-hosts") }
func (l layout) hostname() string   { return filepath.Join(l.dir, "hostname") }
func (l layout) resolvConf() string { return filepath.Join(l.dir, "resolv.conf") }

func (l layout) volume(name string) string { return filepath.Join(l.dir, "volumes", name) }

func (l layout) images() string { return filepath.Join(l.dir, "images") }

func (l layout) subPath(container string, mount int) string {
	return filepath.Join(l.dir, "volume-subpaths", container, strconv.Itoa(mount))
}

func (l layout) termination(container string, attempt int) string {
	return filepath.Join(l.dir, "termination", container, strconv.Itoa(attempt))
}

// PodDir returns the directory of a pod's volumes, files and logs.
func (m *Manager) PodDir(uid types.UID) (string, error) {
	l, err := m.layout(uid)
	return l.dir, err
}
