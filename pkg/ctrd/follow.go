package ctrd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"
	"go.uber.org/zap"

	"github.com/carob-project/carob/pkg/pod"
)

const (
	markerTopic = "/carob/subscribed"
	// relistPeriod bounds how long a lost event goes unnoticed.
	relistPeriod = time.Minute
	// sessionTimeout bounds each part of connecting.
	sessionTimeout = 20 * time.Second
)

// follow keeps the picture true until ctx ends: it subscribes, lists, follows
// the events, and begins again when the subscription breaks.
func (r *Runtime) follow(ctx context.Context) {
	delay := time.Duration(0)
	for {
		err := r.session(ctx)
		if ctx.Err() != nil {
			r.state.setBroken(errClosed)
			return
		}
		if r.state.isReady() {
			delay = 0
		}
		if delay == 0 {
			r.log.Warn("lost containerd", zap.Error(err))
		}
		r.state.setBroken(native(err))
		delay = min(max(2*delay, 50*time.Millisecond), time.Second)
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			r.state.setBroken(errClosed)
			return
		case <-timer.C:
		}
	}
}

// session is one subscription, from its beginning until it breaks.
func (r *Runtime) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	evs, errs := r.client.Subscribe(ctx, r.eventFilter())
	early, err := r.awaitSubscription(ctx, evs, errs)
	if err != nil {
		return err
	}
	r.images.forgetAll()
	if _, err := r.snapshotterName(ctx); err != nil {
		return err
	}
	if err := r.relist(ctx); err != nil {
		return err
	}
	for _, e := range early {
		r.handle(ctx, e)
	}
	r.state.setReady()
	r.log.Info("connected to containerd", zap.String("address", r.opts.Address))
	tick := time.NewTicker(relistPeriod)
	defer tick.Stop()
	for {
		select {
		case e := <-evs:
			r.handle(ctx, e)
		case err := <-errs:
			return orEOF(err)
		case <-tick.C:
			if err := r.relist(ctx); errors.Is(err, pod.ErrUnavailable) {
				return err
			} else if err != nil {
				r.log.Warn("cannot list containers", zap.Error(err))
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errStreamEnded = errors.New("event stream ended")

func orEOF(err error) error {
	if err == nil {
		return errStreamEnded
	}
	return err
}

func (r *Runtime) eventFilter() string {
	return fmt.Sprintf("namespace==%s,topic~=%s", strconv.Quote(r.opts.Namespace),
		strconv.Quote("^/(tasks/(exit|oom|delete)|containers/delete|images/[a-z]+|carob/subscribed)$"))
}

// awaitSubscription returns once containerd delivers events to us. Its answer
// to Subscribe does not say that: so an event of our own is published until it
// comes back. Other events that come meanwhile are returned.
func (r *Runtime) awaitSubscription(ctx context.Context, evs <-chan *events.Envelope, errs <-chan error) (early []*events.Envelope, err error) {
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	nonce := strconv.FormatInt(time.Now().UnixNano(), 36)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for first := true; ; first = false {
		if first || ctx.Err() == nil {
			if err := r.client.EventService().Publish(ctx, markerTopic, &eventtypes.NamespaceUpdate{Name: nonce}); err != nil {
				return nil, fmt.Errorf("publish: %w", err)
			}
		}
		select {
		case e := <-evs:
			if isMarker(e, nonce) {
				return early, nil
			}
			early = append(early, e)
		case err := <-errs:
			return nil, orEOF(err)
		case <-again.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func isMarker(e *events.Envelope, nonce string) bool {
	if e.Topic != markerTopic {
		return false
	}
	v, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		return false
	}
	m, ok := v.(*eventtypes.NamespaceUpdate)
	return ok && m.Name == nonce
}

// handle takes one event in. It must not block: what takes time goes into a
// goroutine of its own.
func (r *Runtime) handle(ctx context.Context, env *events.Envelope) {
	v, err := typeurl.UnmarshalAny(env.Event)
	if err != nil {
		r.log.Debug("unknown event", zap.String("topic", env.Topic), zap.Error(err))
		return
	}
	switch e := v.(type) {
	case *eventtypes.TaskExit:
		if e.ID == e.ContainerID {
			seen := exitRecord{Code: int(e.ExitStatus), FinishedAt: e.ExitedAt.AsTime()}
			r.finishSoon(ctx, e.ContainerID, &seen, 0)
		}
	case *eventtypes.TaskOOM:
		r.state.update(e.ContainerID, func(en *entry) { en.oom = true })
	case *eventtypes.TaskDelete:
		// Our own deletions find the exit recorded; this is for others'.
		if e.ID == "" || e.ID == e.ContainerID {
			seen := exitRecord{Code: int(e.ExitStatus), FinishedAt: e.ExitedAt.AsTime()}
			r.finishSoon(ctx, e.ContainerID, &seen, 0)
		}
	case *eventtypes.ContainerDelete:
		if !r.ids.held(e.ID) {
			r.state.remove(e.ID)
		}
	case *eventtypes.ImageCreate:
		r.images.forget(e.Name)
	case *eventtypes.ImageUpdate:
		r.images.forget(e.Name)
	case *eventtypes.ImageDelete:
		r.images.forget(e.Name)
	}
}
