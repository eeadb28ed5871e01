package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

func TestDue(t *testing.T) {
	at := time.Unix(1e9, 0)
	for _, c := range []struct {
		name  string
		h     history
		after time.Duration
		want  bool
	}{
		{"nothing new", history{compacted: 7, at: at, before: 7}, 2 * time.Hour, false},
		{"few", history{compacted: 7, at: at, before: 8}, time.Hour - time.Second, false},
		{"few for an hour", history{compacted: 7, at: at, before: 8}, time.Hour, true},
		{"nearly enough", history{compacted: 7, at: at, before: 306}, time.Minute, false},
		{"enough", history{compacted: 7, at: at, before: 307}, time.Minute, true},
		{"never before, enough", history{compacted: -1, at: at, before: 299}, time.Minute, true},
	} {
		revision, is := c.h.due(at.Add(c.after))
		if is != c.want || revision != c.h.before {
			t.Errorf("%s: %d %v", c.name, revision, is)
		}
	}
}

// TestOldRevisionsAreDropped ticks for a real store: few revisions stay, many
// are dropped up to where the tick before found the store.
func TestOldRevisionsAreDropped(t *testing.T) {
	s := start(t, Options{Dir: t.TempDir()})
	c := client(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	ticks := make(chan time.Time)
	var wg sync.WaitGroup
	wg.Go(func() { s.compact(ctx, ticks, zap.NewNop()) })
	defer wg.Wait()
	defer cancel()
	now := time.Now()
	// The second one is taken when all of the first is over.
	tick := func() {
		for range 2 {
			ticks <- now
		}
	}
	put := func(n int) int64 {
		var last int64
		for i := range n {
			r, err := c.Put(ctx, "/n", fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			last = r.Header.Revision
		}
		return last
	}
	has := func(revision int64) bool {
		_, err := c.Get(ctx, "/n", clientv3.WithRev(revision))
		if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
			t.Fatal(err)
		}
		return err == nil
	}
	few := put(10)
	tick()
	tick()
	if !has(few) {
		t.Error("few revisions have been dropped")
	}
	many := put(compactLeast)
	ticks <- now // finds them
	late := put(10)
	ticks <- now // drops them
	ticks <- now
	if has(many-1) || !has(many) || !has(late) {
		t.Errorf("there are %d: %v, %d: %v, %d: %v", many-1, has(many-1), many, has(many), late, has(late))
	}
	said, err := c.Get(ctx, CompactedKey)
	if err != nil || len(said.Kvs) != 1 || string(said.Kvs[0].Value) != fmt.Sprint(many) {
		t.Errorf("dropped up to %d, said %v, %v", many, said, err)
	}
}
