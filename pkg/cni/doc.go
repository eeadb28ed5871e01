// Package cni connects network namespaces to networks: it runs CNI chains to
// attach, detach and check, and collects what nobody wants any more.
//
// The chain is the user's where a CNI configuration is installed, else carob's
// own: a bridge, with nftables rules of package hostport for masquerading and
// host ports. The package must not know pods, containerd or Kubernetes types:
// an attachment has an ID, a namespace path, an interface and ports.
//
// What is done is recorded before it is done. A record has all that its undoing
// needs, so that an attachment can be undone after a crash, after a reboot,
// and after the configuration has changed.
package cni
