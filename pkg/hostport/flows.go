package hostport

import (
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// forgetFlows drops the kernel's memory of UDP flows to the ports. A flow has
// no end, so packets would go on to where the port led before. It is best
// effort: without connection tracking of flows there is nothing to forget.
func (t *Table) forgetFlows(mappings []Mapping) {
	for _, m := range mappings {
		k := m.Key()
		if k.Protocol != UDP {
			continue
		}
		filter := &netlink.ConntrackFilter{}
		err := filter.AddProtocol(unix.IPPROTO_UDP)
		if err == nil {
			err = filter.AddPort(netlink.ConntrackOrigDstPort, k.HostPort)
		}
		if err == nil && k.HostIP.IsValid() {
			err = filter.AddIP(netlink.ConntrackOrigDstIP, net.IP(k.HostIP.AsSlice()))
		}
		if err == nil {
			_, _ = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter) // see above
		}
	}
}
