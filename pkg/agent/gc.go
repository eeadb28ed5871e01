package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// belongings is what the node has of one pod.
type belongings struct {
	attempts []pod.Attempt
	sandbox  bool
	volumes  bool
}

// collectGarbage removes what belongs to no pod: at once, and from time to
// time. It runs only after the pods have been listed.
func (a *Agent) collectGarbage(ctx context.Context) {
	for {
		wait := collectEvery
		if err := a.collectOnce(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("not everything that belongs to no pod could be removed", zap.Error(err))
			wait = collectRetry
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// collectOnce looks at what there is first and asks what is wanted then: what
// a pod made meanwhile is not in the look, and what a pod has that is looked
// at had a worker before.
func (a *Agent) collectOnce(ctx context.Context) error {
	if err := a.view.refreshAll(ctx); err != nil {
		return fmt.Errorf("listing attempts: %w", err)
	}
	have, err := a.inventory()
	if err != nil {
		return err
	}
	a.mu.Lock()
	maps.DeleteFunc(have, func(uid types.UID, _ *belongings) bool { _, ok := a.workers[uid]; return ok })
	a.mu.Unlock()

	var wg sync.WaitGroup
	errs := make([]error, len(have))
	for i, uid := range slices.Sorted(maps.Keys(have)) {
		wg.Go(func() { errs[i] = a.discard(ctx, uid, have[uid]) })
	}
	wg.Wait()
	for _, c := range a.o.Collectors {
		errs = append(errs, c.GC(ctx, func(uid types.UID) bool { return a.worker(uid) != nil }))
	}
	return errors.Join(errs...)
}

// inventory lists what the node has, by pod.
func (a *Agent) inventory() (map[types.UID]*belongings, error) {
	out := map[types.UID]*belongings{}
	of := func(uid types.UID) *belongings {
		if out[uid] == nil {
			out[uid] = &belongings{}
		}
		return out[uid]
	}
	attempts, err := a.view.all()
	if err != nil {
		return nil, fmt.Errorf("listing attempts: %w", err)
	}
	for uid, list := range attempts {
		of(uid).attempts = list
	}
	sandboxes, err := a.o.SandboxView.List()
	if err != nil {
		return nil, fmt.Errorf("listing sandboxes: %w", err)
	}
	for _, uid := range sandboxes {
		of(uid).sandbox = true
	}
	volumes, err := a.o.VolumeView.List()
	if err != nil {
		return nil, fmt.Errorf("listing volumes: %w", err)
	}
	for _, uid := range volumes {
		of(uid).volumes = true
	}
	return out, nil
}

// discard removes everything of a pod that nobody wants: what runs first, then
// what that stands on. A part that cannot be removed keeps what is below it.
func (a *Agent) discard(ctx context.Context, uid types.UID, b *belongings) error {
	rule := a.rules[pod.StepRemoveContainer]
	if err := rule.turns.take(ctx); err != nil {
		return err
	}
	defer rule.turns.give()
	ctx, cancel := context.WithTimeout(ctx, rule.limit)
	defer cancel()
	a.log.Info("removing what belongs to no pod", zap.String("uid", string(uid)),
		zap.Int("containers", len(b.attempts)), zap.Bool("sandbox", b.sandbox), zap.Bool("volumes", b.volumes))
	for _, at := range b.attempts {
		if err := a.o.Runtime.Remove(ctx, at.ID); err != nil {
			return fmt.Errorf("removing container %s: %w", at.ID, err)
		}
		a.copiers.finish(ctx, keyOf(at))
	}
	a.copiers.drop(ctx, uid)
	if err := a.o.Sandboxes.Remove(ctx, uid); err != nil {
		return fmt.Errorf("removing the sandbox of pod %s: %w", uid, err)
	}
	if err := a.o.Volumes.Remove(ctx, uid); err != nil {
		return fmt.Errorf("removing the volumes of pod %s: %w", uid, err)
	}
	return nil
}
