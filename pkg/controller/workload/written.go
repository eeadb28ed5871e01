package workload

import (
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/carob-project/carob/pkg/controller/work"
)

// Written remembers the versions that a controller has written, so that it
// decides nothing on an object older than that: the write would fail. One is
// for objects of one kind. The zero value is ready.
type Written struct {
	mu       sync.Mutex
	versions map[string]string
}

// Note remembers the version of an object as a write has returned it.
func (w *Written) Note(o metav1.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.versions == nil {
		w.versions = map[string]string{}
	}
	w.versions[Key(o)] = o.GetResourceVersion()
}

// Stale reports whether an object from a cache is older than the last write.
// The cache's next word on it wakes whoever waits for it.
func (w *Written) Stale(o metav1.Object) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	version, ok := w.versions[Key(o)]
	if !ok {
		return false
	}
	if c, err := resourceversion.CompareResourceVersion(o.GetResourceVersion(), version); err == nil && c < 0 {
		return true
	}
	delete(w.versions, Key(o))
	return false
}

// Forget drops an object that is gone.
func (w *Written) Forget(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.versions, key)
}

// Outdated makes a failure that only says that a cache is behind one that is
// not worth a word.
func Outdated(err error) error {
	if apierrors.IsConflict(err) {
		return fmt.Errorf("%w: %w", work.ErrWaiting, err)
	}
	return err
}
