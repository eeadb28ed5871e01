package sandbox

import (
	"errors"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// Get returns the sandbox of a pod, nil where it has none. One that can serve
// no container is Stale: of an earlier boot, half made or half removed by a run
// of carob that has ended, or robbed of a part. While Create runs there is none
// yet.
func (m *Manager) Get(uid types.UID) (*pod.Sandbox, error) {
	if !validUID.MatchString(string(uid)) {
		return nil, fmt.Errorf("invalid pod UID %q", uid)
	}
	// Create may begin or end beside the reading, so it is asked for before
	// and after; what still looks unfinished is read a second time.
	making := m.isMaking(uid)
	r, err := m.read(uid)
	making = making || m.isMaking(uid)
	if !making && (errors.Is(err, errBroken) || r != nil && r.State != stateWhole) {
		r, err = m.read(uid)
	}
	switch {
	case making && (err != nil || r == nil || !m.whole(r)):
		return nil, nil
	case errors.Is(err, errBroken):
		return &pod.Sandbox{Stale: true}, nil
	case err != nil || r == nil:
		return nil, err
	}
	return m.view(r), nil
}

// List returns the UIDs of all sandboxes, whole or not.
func (m *Manager) List() ([]types.UID, error) {
	entries, err := os.ReadDir(m.opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	var uids []types.UID
	for _, e := range entries {
		if e.IsDir() && validUID.MatchString(e.Name()) {
			uids = append(uids, types.UID(e.Name()))
		}
	}
	return uids, nil
}
