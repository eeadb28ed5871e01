package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// tidying is until etcd has dropped the revisions of the work before, which
// belongs to that work: it looks every five minutes, and drops what was there at
// the look before.
const tidying = 11 * time.Minute

// quiet watches an instance with 50 pods that has nothing to do, and the disk
// that it has for itself.
func (b *bench) quiet(ctx context.Context) error {
	c, d, err := b.onDisk(ctx, "quiet")
	if err != nil {
		return err
	}
	n := b.n(50)
	if _, err := c.startPods(ctx, numbered("quiet", 1, n, "a", "b"), 8); err != nil {
		return err
	}
	if err := settle(ctx, b.calm+tidying); err != nil {
		return err
	}
	from, err := d.written()
	if err != nil {
		return err
	}
	// The node's heartbeat comes every ten minutes, all else more often.
	watched := 2 * b.watched
	r, err := b.watch(ctx, c.meter, watched)
	if err != nil {
		return err
	}
	to, err := d.written()
	if err != nil {
		return err
	}
	hour := float64(to-from) * float64(time.Hour) / float64(watched)
	b.report.row(fmt.Sprintf("written to its disk (ext4, the journal with it) at idle with %d pods in an hour, from %v that began %v after the last start: %s", n, watched, b.calm+tidying, kib(to-from)),
		fmt.Sprintf("%.1f MiB", hour/(1<<20)), "under 1 MiB", hour < 1<<20)
	b.report.row(fmt.Sprintf("idle CPU of the same with %d pods", n), r.tell(), "", true)
	return c.destroy()
}

// onDisk starts an instance on a disk of its own.
func (b *bench) onDisk(ctx context.Context, name string) (*carob, *disk, error) {
	d, err := newDisk(ctx, filepath.Join(b.dir, name))
	if err != nil {
		return nil, nil, err
	}
	b.undo = append(b.undo, d.destroy)
	c, err := b.newCarob(ctx, name)
	return c, d, err
}
