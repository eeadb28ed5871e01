package tainteviction

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// stay is what no object tells about a pod on a tainted node. Only the worker
// that has the pod's key touches it.
type stay struct {
	uid types.UID
	// seen is when each taint was first met; most do not say when they came.
	seen map[corev1.Taint]time.Time
	// planned says that the pod was to be deleted later on.
	planned bool
	// deleted says that the pod was deleted. The cache may not know it yet.
	deleted bool
}

// since is when the taint was first met.
func (s *stay) since(t corev1.Taint) time.Time { return s.seen[identity(t)] }

// identity is the taint without what may be different in the same taint.
func identity(t corev1.Taint) corev1.Taint {
	t.TimeAdded = nil
	return t
}

// memory has the stays by the keys of the pods. The zero value is ready.
type memory struct {
	mu    sync.Mutex
	stays map[string]*stay
}

// note returns the stay of a pod on a node that has these taints. It forgets a
// former pod of that name, and taints that went: one that comes back counts anew.
func (m *memory) note(key string, uid types.UID, taints []corev1.Taint, now time.Time) *stay {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stays == nil {
		m.stays = map[string]*stay{}
	}
	s := m.stays[key]
	if s == nil || s.uid != uid {
		s = &stay{uid: uid}
		m.stays[key] = s
	}
	seen := make(map[corev1.Taint]time.Time, len(taints))
	for _, t := range taints {
		id := identity(t)
		at, known := s.seen[id]
		if !known {
			at = now
		}
		seen[id] = at
	}
	s.seen = seen
	return s
}

// forget drops the stay of a pod. planned says that this very pod was to be
// deleted later on.
func (m *memory) forget(key string, uid types.UID) (planned bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stays[key]
	delete(m.stays, key)
	return s != nil && s.uid == uid && s.planned
}
