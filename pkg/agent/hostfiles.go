package agent

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// hostFiles prepares a pod's volumes and writes its IPs into its hosts file.
// Preparing and attaching run side by side; whichever comes second writes the
// IPs. After a restart of the agent both count as not done.
type hostFiles struct {
	volumes pod.Volumes
	turn    turns // held while files are being written

	mu       sync.Mutex
	prepared bool
	ips      []string
	written  []string
}

// ready says that the volumes can be mounted and the hosts file has the IPs,
// if there are any yet.
func (h *hostFiles) ready() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.prepared && slices.Equal(h.ips, h.written)
}

// know takes in the IPs of an attached sandbox.
func (h *hostFiles) know(ips []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ips = ips
}

// reset forgets everything, after the files have been removed.
func (h *hostFiles) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.prepared, h.ips, h.written = false, nil, nil
}

// prepare makes the volumes and files, or brings them up to date.
func (h *hostFiles) prepare(ctx context.Context, p *corev1.Pod) error {
	if err := h.turn.take(ctx); err != nil {
		return err
	}
	defer h.turn.give()
	if err := h.volumes.Prepare(ctx, p); err != nil {
		return err
	}
	h.mu.Lock()
	ips := h.ips
	h.mu.Unlock()
	if err := h.write(ctx, p, ips); err != nil {
		return err
	}
	h.mu.Lock()
	h.prepared = true
	h.mu.Unlock()
	return nil
}

// attached takes in the IPs of a sandbox that has just been attached.
func (h *hostFiles) attached(ctx context.Context, p *corev1.Pod, ips []string) error {
	if err := h.turn.take(ctx); err != nil {
		return err
	}
	defer h.turn.give()
	h.mu.Lock()
	prepared := h.prepared
	if !prepared {
		h.ips = ips
	}
	h.mu.Unlock()
	if !prepared {
		return nil
	}
	return h.write(ctx, p, ips)
}

// write writes the IPs, if there are any, and notes whether the file has
// them. The caller holds the turn.
func (h *hostFiles) write(ctx context.Context, p *corev1.Pod, ips []string) error {
	var err error
	if len(ips) > 0 {
		err = h.volumes.SetIPs(ctx, p, ips)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ips, h.written = ips, ips
	if err != nil {
		h.written = nil
	}
	return err
}
