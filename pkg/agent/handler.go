package agent

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// handler returns the name of the runtime that the pod's class stands for; empty
// for the default one. It is asked for with each container, so that a class
// that comes late is found; a class cannot change its handler.
func (w *worker) handler(ctx context.Context, p *corev1.Pod) (string, error) {
	name := p.Spec.RuntimeClassName
	if name == nil || *name == "" {
		return "", nil
	}
	class, err := w.a.o.Client.NodeV1().RuntimeClasses().Get(ctx, *name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("failed to get sandbox runtime: %w", err)
	}
	if !slices.Contains(w.a.o.Handlers, class.Handler) {
		return "", fmt.Errorf("failed to get sandbox runtime: %w: no runtime for %q is configured", pod.ErrConfig, class.Handler)
	}
	return class.Handler, nil
}

// features are those of the pod's runtime. While its class is not known there
// are none. The class is asked for until it is there; it cannot change then.
func (w *worker) features(ctx context.Context, p *corev1.Pod) pod.Features {
	if w.a.o.Features == nil {
		return pod.Features{}
	}
	if w.class == nil {
		name, err := w.handler(ctx, p)
		if err != nil {
			return pod.Features{}
		}
		w.class = &name
	}
	return w.a.o.Features(ctx, *w.class)
}

// handlerFeatures is what the Node tells of a runtime.
func (a *Agent) handlerFeatures(ctx context.Context, handler string) *corev1.NodeRuntimeHandlerFeatures {
	if a.o.Features == nil {
		return nil
	}
	f := a.o.Features(ctx, handler)
	return &corev1.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: &f.RecursiveReadOnly, UserNamespaces: &f.UserNamespaces}
}
