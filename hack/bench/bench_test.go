package main

import (
	"slices"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(100-i))
	}
	for _, c := range []struct {
		values []time.Duration
		q      float64
		want   time.Duration
	}{
		{nil, 0.5, 0}, {[]time.Duration{7}, 0.99, 7}, {[]time.Duration{3, 1, 2}, 0.5, 2},
		{hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred[:50], 0.99, 100}, {hundred, 0, 1}, {hundred, 1, 100},
	} {
		if got := quantile(c.values, c.q); got != c.want {
			t.Errorf("quantile %v of %d values = %d, want %d", c.q, len(c.values), got, c.want)
		}
	}
}

func TestOnlyPodman(t *testing.T) {
	for name, c := range map[string]struct {
		table string
		want  bool
	}{
		"podman's": {`table ip filter {
	chain NETAVARK_FORWARD {
		ip daddr 10.89.0.0/24 ct state related,established counter packets 0 bytes 0 accept
	}
	chain FORWARD {
		type filter hook forward priority filter; policy accept;
		 counter packets 0 bytes 0 jump NETAVARK_FORWARD
	}
}`, true},
		"empty": {"table ip6 nat {\n}", true},
		"somebody's rule in a built-in chain": {`table ip filter {
	chain INPUT {
		type filter hook input priority filter; policy accept;
		ip saddr 192.0.2.1 drop
	}
}`, false},
		"somebody's chain": {`table ip nat {
	chain CNI-HOSTPORT-DNAT {
	}
}`, false},
	} {
		if got := onlyPodman(c.table); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestJumps(t *testing.T) {
	const table = `table ip nat { # handle 3
	chain NETAVARK-HOSTPORT-DNAT { # handle 9
	}
	chain PREROUTING { # handle 1
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local counter packets 0 bytes 0 jump CNI-HOSTPORT-DNAT # handle 7
		fib daddr type local counter packets 0 bytes 0 jump NETAVARK-HOSTPORT-DNAT # handle 12
	}
}`
	if got, want := podmanChains(table), []string{"NETAVARK-HOSTPORT-DNAT"}; !slices.Equal(got, want) {
		t.Errorf("chains %v, want %v", got, want)
	}
	if got, want := jumps(table, "NETAVARK-HOSTPORT-DNAT"), []string{"PREROUTING handle 12"}; !slices.Equal(got, want) {
		t.Errorf("jumps %v, want %v", got, want)
	}
}
