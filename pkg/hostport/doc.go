// Package hostport keeps one nftables table: address translation for the pods
// of one bridge. It masquerades what leaves them and leads ports of the host to
// them, from other hosts, from other pods, and from the host itself through any
// of its addresses, 127.0.0.1 included.
//
// The table belongs to one instance alone, so its removal leaves no trace. The
// package must not know pods, CNI or containers: it is told addresses.
package hostport
