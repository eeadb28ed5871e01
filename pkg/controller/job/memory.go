package job

import (
	"maps"
	"slices"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// memory is what the controller keeps from one look at a Job to the next. All
// of it may be lost: a pod that was released is seen without its finalizer at
// the latest when the cache has caught up.
type memory struct {
	mu   sync.Mutex
	jobs map[types.UID]*remembered
}

type remembered struct {
	released map[types.UID]bool
	backoff  Backoff
}

func (m *memory) of(job types.UID) *remembered {
	if m.jobs == nil {
		m.jobs = map[types.UID]*remembered{}
	}
	r := m.jobs[job]
	if r == nil {
		r = &remembered{released: map[types.UID]bool{}}
		m.jobs[job] = r
	}
	return r
}

// recall returns what is known, and forgets the releases that pods shows.
func (m *memory) recall(job types.UID, pods []*corev1.Pod) (map[types.UID]bool, Backoff) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of(job)
	held := map[types.UID]bool{}
	for _, p := range pods {
		held[p.UID] = slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer)
	}
	maps.DeleteFunc(r.released, func(uid types.UID, _ bool) bool { return !held[uid] })
	return maps.Clone(r.released), r.backoff
}

func (m *memory) release(job, pod types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(job).released[pod] = true
}

func (m *memory) keep(job types.UID, b Backoff) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(job).backoff = b
}

func (m *memory) forget(job types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.jobs, job)
}
