package workload

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
)

// Event is one that a decision wants to be recorded.
type Event struct{ Type, Reason, Message string }

// Record records events about an object.
func Record(r record.EventRecorder, about runtime.Object, events []Event) {
	for _, e := range events {
		r.Event(about, e.Type, e.Reason, e.Message)
	}
}
