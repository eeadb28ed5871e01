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
