package hostport

import (
	"net/netip"

	"sigs.k8s.io/knftables"
)

// build writes the whole table anew, without mappings, into the transaction.
// Deleting the old one within it also drops what an earlier version left.
func (t *Table) build(tx *knftables.Transaction, pods netip.Prefix) {
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{})

	tx.Add(&knftables.Map{Name: mapAny, Type: "inet_proto . inet_service : ipv4_addr . inet_service"})
	tx.Add(&knftables.Map{Name: mapAddress, Type: "inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service"})
	t.buildPorts(tx)
	t.buildGuard(tx)
	t.buildPostrouting(tx, pods)
}

// buildPorts leads host ports to pods: for what arrives and for what the host
// itself sends. A mapping of one address goes before one of all.
func (t *Table) buildPorts(tx *knftables.Transaction) {
	tx.Add(&knftables.Chain{Name: chainPorts})
	tx.Add(&knftables.Rule{Chain: chainPorts, Rule: knftables.Concat(
		"dnat ip to meta l4proto . ip daddr . th dport map", "@"+mapAddress)})
	tx.Add(&knftables.Rule{Chain: chainPorts, Rule: knftables.Concat(
		"dnat ip to meta l4proto . th dport map", "@"+mapAny)})

	for name, hook := range map[string]knftables.BaseChainHook{
		chainPrerouting: knftables.PreroutingHook,
		chainOutput:     knftables.OutputHook,
	} {
		tx.Add(&knftables.Chain{
			Name:     name,
			Type:     knftables.PtrTo(knftables.NATType),
			Hook:     knftables.PtrTo(hook),
			Priority: knftables.PtrTo(knftables.BaseChainPriority("-100")),
		})
		if hook == knftables.PreroutingHook {
			t.buildDoors(tx, name)
		}
		// Only what is meant for this host: a port of another machine that
		// pods talk to through here stays theirs.
		tx.Add(&knftables.Rule{Chain: name, Rule: knftables.Concat(
			"fib daddr type local", "jump", chainPorts)})
	}
}

// buildDoors leads pods to the doors' other side. That may be a loopback address:
// the guard has let the packet pass by then, as it was for another address, and
// the bridge takes it for route_localnet.
func (t *Table) buildDoors(tx *knftables.Transaction, chain string) {
	for _, d := range t.doors {
		tx.Add(&knftables.Rule{Chain: chain, Rule: knftables.Concat(
			"iifname", t.quoted(), "ip daddr", d.From.Addr(), "tcp dport", d.From.Port(), "dnat ip to", d.To)})
	}
}

// buildGuard closes what route_localnet opens: with it a pod could reach the
// host's loopback services by sending to 127.0.0.1 through the bridge. It sits
// before translation, so that replies to the host's own connections pass.
func (t *Table) buildGuard(tx *knftables.Transaction) {
	tx.Add(&knftables.Chain{
		Name:     chainGuard,
		Type:     knftables.PtrTo(knftables.FilterType),
		Hook:     knftables.PtrTo(knftables.PreroutingHook),
		Priority: knftables.PtrTo(knftables.BaseChainPriority("-300")),
	})
	tx.Add(&knftables.Rule{Chain: chainGuard, Rule: knftables.Concat(
		"iifname", t.quoted(), "ip daddr 127.0.0.0/8", "drop")})
}

// buildPostrouting hides the pods behind the host towards other machines, and
// behind the bridge where the answer would otherwise not come back through it.
func (t *Table) buildPostrouting(tx *knftables.Transaction, prefix netip.Prefix) {
	tx.Add(&knftables.Chain{
		Name:     chainPostrouting,
		Type:     knftables.PtrTo(knftables.NATType),
		Hook:     knftables.PtrTo(knftables.PostroutingHook),
		Priority: knftables.PtrTo(knftables.SNATPriority),
	})
	pods := prefix.String()
	for _, rule := range []string{
		// The host through its loopback address.
		knftables.Concat("oifname", t.quoted(), "ip saddr 127.0.0.0/8", "masquerade"),
		// A pod through a port of the host, to a pod of the same bridge.
		knftables.Concat("oifname", t.quoted(), "ip saddr", pods, "ct status dnat", "masquerade"),
		// The way out.
		knftables.Concat("oifname !=", t.quoted(), "ip saddr", pods, "ip daddr != 224.0.0.0/4", "masquerade"),
	} {
		tx.Add(&knftables.Rule{Chain: chainPostrouting, Rule: rule})
	}
}

func (t *Table) quoted() string { return `"` + t.bridge + `"` }
