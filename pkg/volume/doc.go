// Package volume makes what the containers of a pod mount: its volumes, its
// hosts, hostname and resolv.conf files, and the files for termination messages.
//
// Everything of a pod is below one directory named by its UID, so that it can be
// found and removed without knowing the pod. What files there are with what
// content is decided by pure functions (payload.go, downward.go, hosts.go,
// dns.go); the rest writes and mounts.
//
// The package knows neither containers that run nor the network. It reads
// ConfigMaps and Secrets through the small interface Objects and knows no API
// client.
package volume
