// Package tracing tells where the time of a pod goes: OpenTelemetry spans of
// its start, its life and its end, kept in memory for the last pods, and handed
// to a collector where one is configured. All spans of a pod are one trace,
// whose ID follows from the pod's UID, so that the parts of carob join it
// without telling each other anything. It must not know what the parts do.
package tracing
