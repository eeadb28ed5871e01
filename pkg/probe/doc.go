// Package probe asks containers from the outside how they are, and runs their
// lifecycle hooks.
//
// State turns results into verdicts and is pure. Loop is the timetable of one
// probe. Runner carries single probes and hooks out: by executing a command in
// the container, or from the node over the network, as the kubelet does. The
// package must not know pods' states, the API server or the runtime: it is
// handed addresses and an Execer.
package probe
