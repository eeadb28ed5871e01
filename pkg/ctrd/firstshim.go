package ctrd

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"
)

const (
	// shimSockets is where shims listen, whatever containerd's state directory.
	shimSockets = "/run/containerd/s"
	shimUpPoll  = 2 * time.Millisecond
	// A slow machine takes seconds to start a shim, and to be early is what
	// must not happen; the lead ends by itself where a shim fails.
	shimUpLimit  = 30 * time.Second
	shimDialTime = 100 * time.Millisecond
)

// firstShims keeps the containers of one pod from starting its shim at the same
// moment. containerd lets one that finds the shim's socket taken join it, but
// there is an instant in which the socket exists and does not listen yet: then
// a second shim takes its place, and the first one stays for ever, unused.
type firstShims struct {
	mu    sync.Mutex
	first map[string]chan struct{}
}

// lead returns what ends the lead on a pod's shim, or, where another one has
// it, a channel that is closed when that has ended.
func (f *firstShims) lead(uid string) (end func(), other <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if led := f.first[uid]; led != nil {
		return func() {}, led
	}
	if f.first == nil {
		f.first = map[string]chan struct{}{}
	}
	led := make(chan struct{})
	f.first[uid] = led
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.first, uid)
		close(led)
	}, nil
}

// awaitShim waits until the pod's shim can be joined or the task that starts it
// has been made.
func (r *Runtime) awaitShim(ctx context.Context, uid string, led <-chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, shimUpLimit)
	defer cancel()
	socket := r.shimSocket(uid)
	tick := time.NewTicker(shimUpPoll)
	defer tick.Stop()
	for !joinable(ctx, socket) {
		select {
		case <-tick.C:
		case <-led:
			return
		case <-ctx.Done():
			return
		}
	}
}

// shimSocket is where the shim of a pod listens, as containerd's shims choose
// it. Should one choose otherwise, its pod's containers are made one after the
// other.
func (r *Runtime) shimSocket(uid string) string {
	sum := sha256.Sum256([]byte(filepath.Join(r.opts.Address, r.opts.Namespace, uid)))
	return filepath.Join(shimSockets, fmt.Sprintf("%x", sum))
}

func joinable(ctx context.Context, socket string) bool {
	d := net.Dialer{Timeout: shimDialTime}
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
