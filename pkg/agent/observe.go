package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/tracing"
)

// observe gathers what the node knows about the pod. An error means that
// something could not be seen, and then nothing may be planned.
func (w *worker) observe(ctx context.Context, p *corev1.Pod) (pod.Observed, error) {
	o := pod.Observed{InFlight: w.inFlight(), Node: pod.Node{HostIPs: w.a.o.NodeIPs}}
	attempts, err := w.attempts(ctx, p)
	if err != nil {
		return o, fmt.Errorf("listing attempts: %w", err)
	}
	o.Attempts = attempts
	if o.Sandbox, err = w.sandbox(o.InFlight); err != nil {
		return o, fmt.Errorf("reading the sandbox: %w", err)
	}
	if o.VolumesPresent, err = w.a.o.VolumeView.Present(w.ref.UID); err != nil {
		return o, fmt.Errorf("looking for volumes: %w", err)
	}
	o.VolumesReady = w.files.ready()
	fctx, known := tracing.Begin(ctx, "runtime features", tracing.Minor())
	o.Features = w.features(fctx, p)
	known(nil)
	ictx, looked := tracing.Begin(ctx, "look for images", tracing.Minor())
	o.Images, err = w.images(ictx, p, attempts)
	if looked(err); err != nil {
		return o, fmt.Errorf("looking for images: %w", err)
	}
	o.Failures = maps.Clone(w.failures)
	o.Stops, o.Kills, o.Pulled = maps.Clone(w.stops), maps.Clone(w.kills), maps.Clone(w.pulls)
	o.Hooks, o.Stopping = maps.Clone(w.hooks), w.stopping
	w.mu.Lock()
	o.Probes = maps.Clone(w.found)
	o.Evicted = w.eviction
	w.mu.Unlock()
	return o, nil
}

// attempts returns the pod's attempts, the ended ones with their termination
// messages, and forgets what is known about those that are gone.
func (w *worker) attempts(ctx context.Context, p *corev1.Pod) ([]pod.Attempt, error) {
	if w.stale {
		if err := w.a.view.refreshPod(ctx, w.ref.UID); err != nil {
			return nil, err
		}
	}
	list, err := w.a.view.cached(w.ref.UID)
	if err != nil {
		return nil, err
	}
	w.stale = false
	list = slices.Clone(list)
	w.settle(ctx, p, list)
	here := make(map[string]struct{}, len(list))
	for _, at := range list {
		here[at.ID] = struct{}{}
	}
	maps.DeleteFunc(w.endings, func(id string, _ ending) bool { _, ok := here[id]; return !ok })
	maps.DeleteFunc(w.stops, func(id string, _ time.Time) bool { _, ok := here[id]; return !ok })
	maps.DeleteFunc(w.kills, func(id string, _ time.Time) bool { _, ok := here[id]; return !ok })
	maps.DeleteFunc(w.hooks, func(id string, _ pod.Hooks) bool { _, ok := here[id]; return !ok })
	w.dropEnded(list)
	maps.DeleteFunc(w.failures, func(id pod.StepID, _ pod.Failure) bool {
		of, about := attemptOfID(id)
		_, ok := here[of]
		return about && !ok
	})
	return list, nil
}

// attemptOfID returns the attempt that a step is about, if it is about one
// that exists already.
func attemptOfID(id pod.StepID) (attempt string, about bool) {
	kind, rest, _ := strings.Cut(string(id), "/")
	switch pod.StepKind(kind) {
	case pod.StepStartContainer, pod.StepRemoveContainer, pod.StepSignalContainer,
		pod.StepPostStart, pod.StepPreStop:
		attempt, _, _ = strings.Cut(rest, "/")
		return attempt, true
	}
	return "", false
}

// sandbox returns the pod's sandbox. Until the step that attaches it is over
// it counts as not attached: the hosts file may not have the IPs yet.
func (w *worker) sandbox(flights map[pod.StepID]pod.Flight) (*pod.Sandbox, error) {
	sb, err := w.a.o.SandboxView.Get(w.ref.UID)
	if err != nil || sb == nil {
		return nil, err
	}
	if !sb.Attached {
		return sb, nil
	}
	if _, attaching := flights[pod.Step{Kind: pod.StepAttachNetwork}.ID()]; attaching {
		masked := *sb
		masked.Attached, masked.IPs = false, nil
		return &masked, nil
	}
	w.files.know(sb.IPs)
	return sb, nil
}

// images looks for the images of those containers that have no live attempt,
// and if there are any for those of volumes; the others need none.
func (w *worker) images(ctx context.Context, p *corev1.Pod, attempts []pod.Attempt) (map[string]pod.Image, error) {
	out := map[string]pod.Image{}
	if p.DeletionTimestamp != nil || terminal(p.Status.Phase) {
		return out, nil
	}
	live := map[string]bool{}
	for _, at := range attempts {
		live[at.Container] = live[at.Container] || at.State != pod.AttemptExited
	}
	var refs []string
	for c := range pod.AllContainers(p) {
		if !live[c.Name] {
			refs = append(refs, c.Image)
		}
	}
	if len(refs) > 0 {
		refs = append(refs, pod.VolumeImages(p)...)
	}
	for _, ref := range refs {
		if _, seen := out[ref]; seen {
			continue
		}
		img, found, err := w.a.o.Images.Present(ctx, ref)
		switch {
		case errors.Is(err, pod.ErrImageName):
			// The pull will say so.
		case err != nil:
			return nil, err
		case found:
			open, err := w.mayUse(ctx, p, img)
			if err != nil {
				return nil, err
			}
			if open {
				out[ref] = img
			}
		}
	}
	return out, nil
}
