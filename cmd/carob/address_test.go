package main

import (
	"net/netip"
	"testing"
)

func TestWherePodsReachTheAPI(t *testing.T) {
	for name, c := range map[string]struct {
		listen, node string
		own          bool
		want, door   string
	}{
		"own network":                  {"127.0.0.1:6443", "192.0.2.7", true, "10.96.0.1:443", "127.0.0.1:6443"},
		"own network, listens widely":  {"0.0.0.0:6443", "192.0.2.7", true, "10.96.0.1:443", "127.0.0.1:6443"},
		"own network, by its name":     {"localhost:6443", "192.0.2.7", true, "10.96.0.1:443", "127.0.0.1:6443"},
		"another network":              {"127.0.0.1:6443", "192.0.2.7", false, "", "127.0.0.1:6443"},
		"another, listens widely":      {":6443", "192.0.2.7", false, "192.0.2.7:6443", "127.0.0.1:6443"},
		"another, at an address":       {"192.0.2.8:6443", "192.0.2.8", false, "192.0.2.8:6443", "192.0.2.8:6443"},
		"another, no address to go to": {"0.0.0.0:6443", "127.0.0.1", false, "", "127.0.0.1:6443"},
		"IPv6 alone":                   {"[::1]:6443", "192.0.2.7", true, "", ""},
	} {
		if got := podsReach(c.listen, c.own, c.node); text(got) != c.want {
			t.Errorf("%s: %s", name, got)
		}
		d := doors(c.listen)
		if len(d) == 0 != (c.door == "") || len(d) == 1 && d[0].To.String() != c.door {
			t.Errorf("%s: doors %v", name, d)
		}
	}
}

func text(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
