package ctrd

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/carob-project/carob/pkg/pod"
)

// SetResources gives an attempt that lives other resources: limits that are
// unset go. The record of the attempt, its spec hash with it, follows once the
// runtime has taken them, so that a crash in between does it again. An attempt
// that has ended or is unknown gives an error that wraps pod.ErrNotFound.
func (r *Runtime) SetResources(ctx context.Context, id string, res pod.Resources, specHash, applied string) error {
	ctx = r.scoped(ctx)
	if err := r.usable(ctx); err != nil {
		return err
	}
	unlock, err := r.ids.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	if e, ok := r.state.get(id); !ok || e.attempt.State == pod.AttemptExited {
		return fmt.Errorf("resize %s: %w", id, pod.ErrNotFound)
	}
	ctx, cancel := outlive(ctx)
	defer cancel()
	packed, err := typeurl.MarshalAnyToProto(resizeOf(res, r.host))
	if err != nil {
		return fmt.Errorf("resize %s: %w", id, err)
	}
	if _, err := r.client.TaskService().Update(ctx, &tasks.UpdateTaskRequest{ContainerID: id, Resources: packed}); err != nil {
		return fmt.Errorf("resize %s: %w", id, native(err))
	}
	labels := map[string]string{labelSpecHash: specHash, labelResources: applied}
	_, err = r.containers().Update(ctx, containers.Container{ID: id, Labels: labels},
		"labels."+labelSpecHash, "labels."+labelResources)
	if err != nil {
		return fmt.Errorf("record resize of %s: %w", id, native(err))
	}
	r.state.update(id, func(e *entry) { e.attempt.SpecHash, e.attempt.Applied = specHash, applied })
	return nil
}

// resizeOf is what the OCI runtime is told: unlike a new container's resources
// every value is there, as one that is not stays as it was.
func resizeOf(r pod.Resources, h host) *specs.LinuxResources {
	r = pod.Lifted(r)
	to := &specs.LinuxResources{}
	setResources(to, r, h.swap)
	if h.cgroupV2 {
		to.Unified = unified(r)
	}
	return to
}
