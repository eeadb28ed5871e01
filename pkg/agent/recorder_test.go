package agent_test

import (
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
)

// runtimeObject is what a reactor answers with.
type runtimeObject = runtime.Object

func quantity(s string) *resource.Quantity {
	q := resource.MustParse(s)
	return &q
}

// recorder keeps events. In virtual time many are of the same instant, which
// the names of events in the API do not allow for.
type recorder struct {
	mu     sync.Mutex
	events map[string][]string // by pod
}

func (r *recorder) Event(o runtime.Object, kind, reason, message string) {
	ref, ok := o.(*corev1.ObjectReference)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events[ref.Name] = append(r.events[ref.Name], kind+" "+reason+" "+ref.FieldPath+" "+message)
}

func (r *recorder) Eventf(o runtime.Object, kind, reason, format string, args ...any) {
	r.Event(o, kind, reason, fmt.Sprintf(format, args...))
}

func (r *recorder) AnnotatedEventf(o runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	r.Eventf(o, kind, reason, format, args...)
}

func (r *recorder) of(pod string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.events[pod]...)
}
