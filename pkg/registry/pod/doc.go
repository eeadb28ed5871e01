// Package pod is the Pod kind of the API: defaulting, validation, what may
// change in an update, deletion, binding, eviction, storage and the table
// that kubectl prints.
//
// corev1.Pod is both the served and the internal type. What carob does not
// honour is refused from the table in pkg/fields. The package must not know
// nodes, the agent or the scheduler: they speak to it through the API.
package pod
