package cni

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestChooseCIDRChecksPreferred(t *testing.T) {
	routes := []Route{
		{Dst: netip.MustParsePrefix("0.0.0.0/0"), Interface: "eth0"},
		{Dst: netip.MustParsePrefix("10.9.0.0/16"), Interface: "wg0"},
		{Dst: netip.MustParsePrefix("10.8.1.0/24"), Interface: "carob-x"},
	}
	for _, tc := range []struct {
		cidr, wrong string
	}{
		{"10.8.0.0/16", ""},
		{"10.8.1.0/24", ""},
		{"10.9.3.0/24", "10.9.0.0/16 of interface wg0"},
		{"10.0.0.0/8", "wg0"},
		{"10.8.1.5/24", "did you mean 10.8.1.0/24"},
		{"fd00::/64", "not IPv4"},
		{"10.8.0.0/30", "length"},
		{"10.0.0.0/7", "length"},
	} {
		got, err := ChooseCIDR(netip.MustParsePrefix(tc.cidr), routes, "carob-x", "seed")
		switch {
		case tc.wrong == "" && (err != nil || got.String() != tc.cidr):
			t.Errorf("%s: %v, %v", tc.cidr, got, err)
		case tc.wrong != "" && (!errors.Is(err, ErrCIDR) || !strings.Contains(err.Error(), tc.wrong)):
			t.Errorf("%s: error %v, want %q", tc.cidr, err, tc.wrong)
		}
	}
}

// Whatever the routes are: the choice overlaps none of them, depends on the
// arguments alone, and is refused only where nothing is free.
func TestChooseCIDRProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var routes []Route
		for range rapid.IntRange(0, 6).Draw(t, "routes") {
			var ip [4]byte
			copy(ip[:], rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "ip"))
			if rapid.Bool().Draw(t, "near") {
				ip[0], ip[1] = 10, 200+ip[1]%4
			}
			p := netip.PrefixFrom(netip.AddrFrom4(ip), rapid.IntRange(0, 32).Draw(t, "bits")).Masked()
			routes = append(routes, Route{Dst: p, Interface: "eth0"})
		}
		seed := rapid.String().Draw(t, "seed")
		got, err := ChooseCIDR(netip.Prefix{}, routes, "carob-x", seed)
		again, err2 := ChooseCIDR(netip.Prefix{}, routes, "carob-x", seed)
		if got != again || (err == nil) != (err2 == nil) {
			t.Fatalf("%v %v, then %v %v", got, err, again, err2)
		}
		if err != nil {
			if !errors.Is(err, ErrNoCIDR) || len(routes) < 2 {
				t.Fatalf("%v with routes %v", err, routes)
			}
			return
		}
		if r, taken := overlap(got, routes, "carob-x"); taken || got.Bits() != poolBits || got != got.Masked() {
			t.Fatalf("%s overlaps %v", got, r)
		}
		if _, err := ChooseCIDR(got, routes, "carob-x", seed); err != nil {
			t.Fatalf("the choice is not good enough to be given: %v", err)
		}
	})
}
