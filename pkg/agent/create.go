package agent

import (
	"context"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/tracing"
)

// nodeHostname is the name of the machine; empty where the kernel does not tell.
func nodeHostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// create makes an attempt. Its log is being copied before it exists, so that
// none of its words is lost.
func (w *worker) create(ctx context.Context, p *corev1.Pod, s pod.Step, o pod.Observed) error {
	if o.Sandbox == nil {
		return fmt.Errorf("container %q has no sandbox: %w", s.Container, pod.ErrConfig)
	}
	handler, err := w.handler(ctx, p)
	if err != nil {
		return err
	}
	if s.Container == pod.Holder {
		_, err := w.a.o.Runtime.Create(ctx, pod.HolderRequest(p, s.Number, *o.Sandbox, handler, nodeHostname()))
		return err
	}
	args := pod.RequestArgs{
		Container: s.Container, Number: s.Number, Streak: s.Streak,
		Sandbox: *o.Sandbox, NodeMemory: w.a.memory.Load(), NodeHostname: nodeHostname(),
		MemoryQoS: w.a.o.MemoryQoS, Allocatable: w.a.allocatableMemory(),
		Init: pod.WantsInit(p, w.a.o.Init), Handler: handler,
	}
	w.tellVolumes(p)
	w.tellPresent(p, s.Container, s.Image)
	if args.ProcessesOf, err = pod.ProcessesOf(p, s.Container, o.Attempts); err != nil {
		return err
	}
	_, grown := tracing.Begin(ctx, "grow pod cgroup")
	err = w.growPod(ctx, p)
	if grown(err); err != nil {
		return fmt.Errorf("resources of the pod: %w", err)
	}
	ectx, known := tracing.Begin(ctx, "environment")
	env, err := w.environment(ectx, p, s.Container, o)
	known(err)
	if err != nil {
		return err
	}
	args.Env = env
	mounted, err := pod.WithSubPaths(p, s.Container, env)
	if err != nil {
		return err
	}
	if mounted, err = pod.WithReadOnly(mounted, s.Container, o.Features); err != nil {
		return err
	}
	mctx, done := tracing.Begin(ctx, "mounts")
	args.Mounts, err = w.a.o.Volumes.Mounts(mctx, mounted, s.Container, s.Number)
	if done(err); err != nil {
		return err
	}
	k := LogKey{Pod: w.ref, Container: s.Container, Number: s.Number}
	lctx, opened := tracing.Begin(ctx, "log pipes")
	args.Stdout, args.Stderr, err = w.a.copiers.begin(lctx, k)
	if opened(err); err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	if c, _ := pod.FindContainer(p, s.Container); c != nil && c.Stdin && w.a.o.Attacher != nil {
		args.Stdin, err = w.a.o.Attacher.Stdin(k)
	}
	var req pod.CreateRequest
	if err == nil {
		req, err = pod.Request(p, args)
	}
	if err == nil {
		_, err = w.a.o.Runtime.Create(ctx, req)
	}
	if err != nil {
		w.a.copiers.finish(ctx, k)
		return err
	}
	w.normal(p, s.Container, reasonCreated, "Container created")
	return nil
}
