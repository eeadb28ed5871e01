package workload

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// patience is how long a write may stay unseen before it is taken for lost.
const patience = 5 * time.Minute

// Pending remembers which of its own writes a controller has not seen yet, so
// that it decides nothing on a view that lacks them. Names of new pods are
// known before the pods are made, so a pod may be seen at any time.
type Pending struct {
	mu     sync.Mutex
	owners map[types.UID]*unseen
}

type unseen struct {
	created map[string]time.Time
	deleted map[types.UID]time.Time
}

// NewPending returns an empty one.
func NewPending() *Pending { return &Pending{owners: map[types.UID]*unseen{}} }

func (p *Pending) of(owner types.UID) *unseen {
	u := p.owners[owner]
	if u == nil {
		u = &unseen{created: map[string]time.Time{}, deleted: map[types.UID]time.Time{}}
		p.owners[owner] = u
	}
	return u
}

// Create says that a pod is about to be made.
func (p *Pending) Create(owner types.UID, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(owner).created[name] = time.Now()
}

// Delete says that a pod is about to be deleted.
func (p *Pending) Delete(owner, pod types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(owner).deleted[pod] = time.Now()
}

// Created says that the pod has been seen, or will never be there.
func (p *Pending) Created(owner types.UID, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u := p.owners[owner]; u != nil {
		delete(u.created, name)
		p.drop(owner, u)
	}
}

// Deleted says that the pod's deletion has been seen, or did not happen.
func (p *Pending) Deleted(owner, pod types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u := p.owners[owner]; u != nil {
		delete(u.deleted, pod)
		p.drop(owner, u)
	}
}

func (p *Pending) drop(owner types.UID, u *unseen) {
	if len(u.created)+len(u.deleted) == 0 {
		delete(p.owners, owner)
	}
}

// Forget drops what is known about an owner that is gone.
func (p *Pending) Forget(owner types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.owners, owner)
}

// Wait returns 0 if all writes for the owner have been seen, else how long it
// takes until those that are missing are given up.
func (p *Pending) Wait(owner types.UID) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.owners[owner]
	if u == nil {
		return 0
	}
	var wait time.Duration
	for name, at := range u.created {
		left := patience - time.Since(at)
		if left <= 0 {
			delete(u.created, name)
		}
		wait = max(wait, left)
	}
	for uid, at := range u.deleted {
		left := patience - time.Since(at)
		if left <= 0 {
			delete(u.deleted, uid)
		}
		wait = max(wait, left)
	}
	p.drop(owner, u)
	return max(wait, 0)
}
