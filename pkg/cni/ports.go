package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/carob-project/carob/pkg/hostport"
)

// ErrPortInUse: another attachment has the host port.
var ErrPortInUse = errors.New("host port in use")

// portTable is the kernel's side of the book.
type portTable interface {
	Sync(ctx context.Context, pods netip.Prefix, mappings []hostport.Mapping) error
	Add(ctx context.Context, mappings ...hostport.Mapping) error
	Delete(ctx context.Context, mappings ...hostport.Mapping) error
	Remove(ctx context.Context) error
}

// portBook knows who has which host port, and keeps the table in step. Its lock
// is held across changes of the table, so that a rewrite of the whole table
// loses or revives no port.
type portBook struct {
	table portTable

	mu     sync.Mutex
	owners map[hostport.Key]string
	active map[string][]hostport.Mapping
}

func newPortBook(table portTable) *portBook {
	return &portBook{table: table, owners: map[hostport.Key]string{}, active: map[string][]hostport.Mapping{}}
}

// reserve notes that the attachment has these ports, all or none.
func (b *portBook) reserve(id string, keys []hostport.Key) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, k := range keys {
		if owner, taken := b.owners[k]; taken && owner != id {
			return fmt.Errorf("%w: %s by %s", ErrPortInUse, k, owner)
		}
		if slices.Contains(keys[:i], k) {
			return fmt.Errorf("%w: %s twice", ErrPortInUse, k)
		}
	}
	for _, k := range keys {
		b.owners[k] = id
	}
	return nil
}

// adopt notes what a record of an earlier run says, without touching the
// table.
func (b *portBook) adopt(r *record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range r.keys() {
		b.owners[k] = r.ID
	}
	if m := r.mappings(); r.Attached && len(m) > 0 {
		b.active[r.ID] = m
	}
}

// activate opens the reserved ports of the attachment.
func (b *portBook) activate(ctx context.Context, id string, mappings []hostport.Mapping) error {
	if len(mappings) == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	// Noted first: a failed change may have happened all the same.
	b.active[id] = mappings
	return b.table.Add(ctx, mappings...)
}

// release closes the ports of the attachment and gives them back.
func (b *portBook) release(ctx context.Context, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := b.active[id]; len(m) > 0 {
		if err := b.table.Delete(ctx, m...); err != nil {
			return err
		}
	}
	delete(b.active, id)
	for k, owner := range b.owners {
		if owner == id {
			delete(b.owners, k)
		}
	}
	return nil
}

// sync rewrites the table.
func (b *portBook) sync(ctx context.Context, pods netip.Prefix) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []hostport.Mapping
	for _, m := range b.active {
		all = append(all, m...)
	}
	return b.table.Sync(ctx, pods, all)
}
