package main

import (
	"context"
	"net"
	"net/netip"

	"github.com/carob-project/carob/pkg/hostport"
	"github.com/carob-project/carob/pkg/pki"
)

// hostsOf returns the listener's own address for the server's certificate.
func hostsOf(listen string) []string {
	host, _, err := net.SplitHostPort(listen)
	if ip, perr := netip.ParseAddr(host); err != nil || perr != nil || ip.IsUnspecified() {
		return nil
	}
	return []string{host}
}

// reachable returns an address under which this machine reaches the listener.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// servicePort is where pods expect the API at its service address.
const servicePort = 443

// listener is the address under which this machine reaches the API; the zero
// value where it is no IPv4 address.
func listener(listen string) netip.AddrPort {
	host, port, err := net.SplitHostPort(reachable(listen))
	if err != nil {
		return netip.AddrPort{}
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	at, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
	if err != nil || !at.Addr().Unmap().Is4() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// serviceAddress is where pods of carob's own network reach the API.
func serviceAddress() netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(pki.ServiceIP), servicePort)
}

// doors lead pods from the API's service address to its listener. Nobody else
// gets there this way.
func doors(listen string) []hostport.Door {
	to := listener(listen)
	if !to.IsValid() {
		return nil
	}
	return []hostport.Door{{From: serviceAddress(), To: to}}
}

// podsReach is where pods reach the API: through the door of carob's own
// network, else at the listener, if that is open to others than this machine
// itself. The zero value: nowhere.
func podsReach(listen string, own bool, nodeIP string) netip.AddrPort {
	at := listener(listen)
	switch {
	case !at.IsValid():
		return netip.AddrPort{}
	case own:
		return serviceAddress()
	case !at.Addr().IsLoopback():
		return at
	}
	ip, err := netip.ParseAddr(nodeIP)
	if err != nil || ip.IsLoopback() || !everywhere(listen) {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip, at.Port())
}

// everywhere says whether the listener takes connections at every address.
func everywhere(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil || host == "" {
		return err == nil
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsUnspecified()
}

func unixDialer(socket string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
}
