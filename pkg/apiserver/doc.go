// Package apiserver puts the Kubernetes API of carob together from
// k8s.io/apiserver: groups, storage, authentication, authorization, admission
// and documentation. What a kind means is in pkg/registry; this package must
// not know how pods are run, nor how a node is reached.
package apiserver
