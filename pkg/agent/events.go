package agent

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// Component is the reporting component of the agent's events.
const Component = "carob-agent"

// newRecorder returns a recorder that writes events until ctx ends.
func newRecorder(ctx context.Context, client kubernetes.Interface, node string) record.EventRecorder {
	b := record.NewBroadcaster(record.WithContext(ctx))
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: Component, Host: node})
}

// objectOf returns the reference that an event about a container names, or
// about the whole pod where container is empty.
func objectOf(p *corev1.Pod, container string) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1",
		Namespace: p.Namespace, Name: p.Name, UID: p.UID,
		ResourceVersion: p.ResourceVersion,
		FieldPath:       fieldPath(p, container),
	}
}

// fieldPath is where in the pod a container is, as events of Kubernetes say.
func fieldPath(p *corev1.Pod, container string) string {
	for _, c := range p.Spec.InitContainers {
		if c.Name == container {
			return fmt.Sprintf("spec.initContainers{%s}", container)
		}
	}
	for _, c := range p.Spec.Containers {
		if c.Name == container {
			return fmt.Sprintf("spec.containers{%s}", container)
		}
	}
	for _, c := range p.Spec.EphemeralContainers {
		if c.Name == container {
			return fmt.Sprintf("spec.ephemeralContainers{%s}", container)
		}
	}
	return ""
}

// event records an event about the pod or one of its containers.
func (w *worker) event(p *corev1.Pod, container, kind, reason, format string, args ...any) {
	w.a.recorder.Eventf(objectOf(p, container), kind, reason, format, args...)
}

func (w *worker) normal(p *corev1.Pod, container, reason, format string, args ...any) {
	w.event(p, container, corev1.EventTypeNormal, reason, format, args...)
}

func (w *worker) warning(p *corev1.Pod, container, reason, format string, args ...any) {
	w.event(p, container, corev1.EventTypeWarning, reason, format, args...)
}
