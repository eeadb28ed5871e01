package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// idsPerPod is how many IDs of users, and as many of groups, a pod has in its
// user namespace, as in Kubernetes.
const idsPerPod = 1 << 16

// idOwner is who has the IDs for pods in /etc/subuid and /etc/subgid, where the
// administrator gives carob some of its own.
const idOwner = "carob"

// idSpan are the IDs from first up to, and without, end.
type idSpan struct{ first, end uint64 }

func (s idSpan) meets(o idSpan) bool { return s.first < o.end && o.first < s.end }

var errNoIDs = errors.New("no range of IDs for a user namespace is free")

// begin writes the first record of a sandbox. Where the pod has a user
// namespace or an SELinux level of its own, its IDs and categories are in there,
// and so nobody else's.
func (m *Manager) begin(r *record, p *corev1.Pod) error {
	r.Level = m.levelOf(p)
	ownUsers, ownLevel := pod.OwnUsers(&p.Spec), m.opts.Sensitivity != "" && r.Level == ""
	if !ownUsers && !ownLevel {
		return m.write(r)
	}
	m.own.Lock()
	defer m.own.Unlock()
	ids, levels, err := m.used()
	if err != nil {
		return err
	}
	if ownLevel {
		if r.Level, err = freeLevel(m.opts.Sensitivity, levels); err != nil {
			return err
		}
	}
	if !ownUsers {
		return m.write(r)
	}
	allowed, taken, err := hostIDs(m.opts.IDFiles)
	if err != nil {
		return fmt.Errorf("IDs for a user namespace: %w", err)
	}
	if r.Users, err = freeIDs(allowed, append(taken, ids...)); err != nil {
		return err
	}
	return m.write(r)
}

// used are the IDs and SELinux levels of all sandboxes. One whose record is
// broken tells none; its removal ends what runs there.
func (m *Manager) used() (ids []idSpan, levels map[string]bool, err error) {
	uids, err := m.List()
	if err != nil {
		return nil, nil, err
	}
	levels = map[string]bool{}
	for _, uid := range uids {
		r, err := m.read(uid)
		if err != nil && !errors.Is(err, errBroken) {
			return nil, nil, err
		}
		if r == nil {
			continue
		}
		if r.Users.Mapped() {
			ids = append(ids, spanOf(r.Users))
		}
		levels[r.Level] = true
	}
	return ids, levels, nil
}

func spanOf(r pod.IDRange) idSpan {
	return idSpan{uint64(r.First), uint64(r.First) + uint64(r.Size)}
}

// freeIDs returns the first range among the allowed IDs of which none is taken.
func freeIDs(allowed, taken []idSpan) (pod.IDRange, error) {
	for _, a := range allowed {
		for first := a.first; first+idsPerPod <= a.end; {
			want := idSpan{first, first + idsPerPod}
			i := slices.IndexFunc(taken, want.meets)
			if i < 0 {
				return pod.IDRange{First: uint32(first), Size: idsPerPod}, nil
			}
			// The next one in line that is behind what is taken.
			steps := (taken[i].end - first + idsPerPod - 1) / idsPerPod
			first += steps * idsPerPod
		}
	}
	return pod.IDRange{}, errNoIDs
}

// hostIDs reads which IDs are for pods, and which of those are not although
// they are in between. What carob has been given in subuid and subgid is for
// pods, and nothing else is. Where it has been given nothing all IDs are that
// are outside of the first 65536 and that no user, group or other owner has.
func hostIDs(dir string) (allowed, taken []idSpan, err error) {
	users, others, err := subIDs(filepath.Join(dir, "subuid"))
	if err != nil {
		return nil, nil, err
	}
	groups, more, err := subIDs(filepath.Join(dir, "subgid"))
	if err != nil {
		return nil, nil, err
	}
	if !slices.Equal(users, groups) {
		return nil, nil, fmt.Errorf("%s/subuid and %[1]s/subgid must give %s the same IDs", dir, idOwner)
	}
	taken = append(others, more...)
	for _, name := range []string{"passwd", "group"} {
		ids, err := accountIDs(filepath.Join(dir, name))
		if err != nil {
			return nil, nil, err
		}
		taken = append(taken, ids...)
	}
	if len(users) == 0 {
		// The last range is left out, for the ID that stands for none.
		return []idSpan{{idsPerPod, math.MaxUint32 + 1 - idsPerPod}}, taken, nil
	}
	for _, s := range users {
		if s.first < idsPerPod || s.end > math.MaxUint32 {
			return nil, nil, fmt.Errorf("%s/subuid gives %s IDs that pods must not have: begin with %d or above", dir, idOwner, idsPerPod)
		}
	}
	return users, taken, nil
}

// subIDs reads a file of lines owner:first:count.
func subIDs(path string) (own, others []idSpan, err error) {
	err = eachLine(path, func(parts []string) {
		if len(parts) < 3 {
			return
		}
		first, ferr := strconv.ParseUint(parts[1], 10, 32)
		count, cerr := strconv.ParseUint(parts[2], 10, 32)
		if ferr != nil || cerr != nil || count == 0 {
			return // nobody has anything from such a line
		}
		s := idSpan{first, first + count}
		if parts[0] == idOwner {
			own = append(own, s)
		} else {
			others = append(others, s)
		}
	})
	return own, others, err
}

// accountIDs reads the ID in the third part of each line.
func accountIDs(path string) ([]idSpan, error) {
	var ids []idSpan
	err := eachLine(path, func(parts []string) {
		if len(parts) < 3 {
			return
		}
		if id, err := strconv.ParseUint(parts[2], 10, 32); err == nil {
			ids = append(ids, idSpan{id, id + 1})
		}
	})
	return ids, err
}

// eachLine hands on the parts of every line of a file that may be missing.
func eachLine(path string, f func(parts []string)) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		if line := strings.TrimSpace(s.Text()); line != "" && line[0] != '#' {
			f(strings.Split(line, ":"))
		}
	}
	return nil
}
