// Package netdial connects to ports inside pinned network namespaces. It must
// not know whose namespaces they are.
package netdial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/internal/osthread"
)

// Localhost connects to a TCP port of the loopback interface in the network
// namespace pinned at path, by IPv4 and else by IPv6. An empty path is the
// caller's own namespace.
func Localhost(ctx context.Context, path string, port uint16) (net.Conn, error) {
	if path == "" {
		return loopback(ctx, port)
	}
	var conn net.Conn
	err := osthread.Throwaway(func() (err error) {
		if err = enter(path); err == nil {
			conn, err = loopback(ctx, port)
		}
		return err
	})
	return conn, err
}

// enter moves the calling thread into a network namespace.
func enter(path string) error {
	f, err := os.Open(path) //nolint:gosec // a namespace that carob pinned
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering network namespace %s: %w", path, err)
	}
	return nil
}

// loopback dials literal addresses one after the other: each socket is made
// on the calling thread.
func loopback(ctx context.Context, port uint16) (net.Conn, error) {
	var d net.Dialer
	var errs []error
	for _, a := range []struct{ network, host string }{{"tcp4", "127.0.0.1"}, {"tcp6", "::1"}} {
		conn, err := d.DialContext(ctx, a.network, net.JoinHostPort(a.host, strconv.Itoa(int(port))))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
