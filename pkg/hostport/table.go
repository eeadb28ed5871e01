package hostport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"sigs.k8s.io/knftables"
)

// The protocols that can be mapped.
const (
	TCP  = "tcp"
	UDP  = "udp"
	SCTP = "sctp"
)

// ErrMapping: a mapping cannot be expressed.
var ErrMapping = errors.New("invalid host port mapping")

// Mapping leads a port of the host to a port of a pod.
type Mapping struct {
	// Protocol is TCP, UDP or SCTP.
	Protocol string
	// HostIP is the address of the host; invalid or unspecified: all.
	HostIP   netip.Addr
	HostPort uint16
	PodIP    netip.Addr
	PodPort  uint16
}

// Key is what a mapping occupies on the host; two mappings with the same key
// exclude each other.
type Key struct {
	Protocol string
	HostIP   netip.Addr
	HostPort uint16
}

// Key returns what the mapping occupies, in normal form.
func (m Mapping) Key() Key {
	k := Key{Protocol: strings.ToLower(m.Protocol), HostIP: m.HostIP.Unmap(), HostPort: m.HostPort}
	if k.HostIP.IsValid() && k.HostIP.IsUnspecified() {
		k.HostIP = netip.Addr{}
	}
	return k
}

// String returns the key as in messages: 10.0.0.1:80/tcp.
func (k Key) String() string {
	host := "0.0.0.0"
	if k.HostIP.IsValid() {
		host = k.HostIP.String()
	}
	return fmt.Sprintf("%s:%d/%s", host, k.HostPort, k.Protocol)
}

// Validate tells whether the mapping can be expressed.
func (m Mapping) Validate() error {
	k := m.Key()
	switch {
	case k.Protocol != TCP && k.Protocol != UDP && k.Protocol != SCTP:
		return fmt.Errorf("%w: protocol %q", ErrMapping, m.Protocol)
	case m.HostPort == 0 || m.PodPort == 0:
		return fmt.Errorf("%w: %s: a port is 0", ErrMapping, k)
	case k.HostIP.IsValid() && !k.HostIP.Is4():
		return fmt.Errorf("%w: %s: only IPv4 host addresses", ErrMapping, k)
	case !m.PodIP.Unmap().Is4():
		return fmt.Errorf("%w: %s: pod address %s is not IPv4", ErrMapping, k, m.PodIP)
	}
	return nil
}

// Door leads pods, and nobody else, from an address that no machine has to one
// of this host, which may be a loopback address.
type Door struct {
	From, To netip.AddrPort
}

// Names within the table.
const (
	mapAny     = "ports"
	mapAddress = "address-ports"

	chainGuard       = "guard"
	chainPrerouting  = "prerouting"
	chainOutput      = "output"
	chainPostrouting = "postrouting"
	chainPorts       = "host-ports"
)

// Table is the translation table of one bridge. It is safe for concurrent use.
type Table struct {
	name   string
	bridge string
	doors  []Door

	mu  sync.Mutex
	nft knftables.Interface
}

// New returns the table of that name for the pods behind bridge, with doors of
// TCP over IPv4. It touches nothing yet.
func New(name, bridge string, doors ...Door) *Table {
	return &Table{name: name, bridge: bridge, doors: doors}
}

// open finds the nft program once; a machine may get it later.
func (t *Table) open() (knftables.Interface, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.nft == nil {
		nft, err := knftables.New(knftables.IPv4Family, t.name)
		if err != nil {
			return nil, fmt.Errorf("nftables is not usable (install the nftables package): %w", err)
		}
		t.nft = nft
	}
	return t.nft, nil
}

// Sync makes the table hold the rules for pods with addresses of that prefix
// and exactly these mappings, in one transaction: traffic sees the old table or
// the new one.
func (t *Table) Sync(ctx context.Context, pods netip.Prefix, mappings []Mapping) error {
	nft, err := t.open()
	if err != nil {
		return err
	}
	tx := nft.NewTransaction()
	t.build(tx, pods.Masked())
	for _, m := range mappings {
		if err := m.Validate(); err != nil {
			return err
		}
		tx.Add(element(m))
	}
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("write nftables table %s: %w", t.name, err)
	}
	return nil
}

// Add adds mappings to a table that Sync has made, all or none.
func (t *Table) Add(ctx context.Context, mappings ...Mapping) error {
	if len(mappings) == 0 {
		return nil
	}
	nft, err := t.open()
	if err != nil {
		return err
	}
	tx := nft.NewTransaction()
	for _, m := range mappings {
		if err := m.Validate(); err != nil {
			return err
		}
		tx.Add(element(m))
	}
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("add host ports to nftables table %s: %w", t.name, err)
	}
	t.forgetFlows(mappings)
	return nil
}

// Delete takes mappings out. Those that are not in the table are no error, and
// a port that leads elsewhere by now is left alone.
func (t *Table) Delete(ctx context.Context, mappings ...Mapping) error {
	if len(mappings) == 0 {
		return nil
	}
	nft, err := t.open()
	if err != nil {
		return err
	}
	err = deleteElements(ctx, nft, mappings)
	if knftables.IsAlreadyExists(err) {
		// One of them leads elsewhere and has kept the others too.
		err = nil
		for _, m := range mappings {
			if e := deleteElements(ctx, nft, []Mapping{m}); !knftables.IsAlreadyExists(e) {
				err = errors.Join(err, e)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("delete host ports from nftables table %s: %w", t.name, err)
	}
	t.forgetFlows(mappings)
	return nil
}

// deleteElements deletes all or none. A missing table has none.
func deleteElements(ctx context.Context, nft knftables.Interface, mappings []Mapping) error {
	tx := nft.NewTransaction()
	for _, m := range mappings {
		// Adding first makes the deletion succeed where there is nothing, and
		// fail where the port leads elsewhere.
		tx.Add(element(m))
		tx.Delete(element(m))
	}
	if err := nft.Run(ctx, tx); err != nil && !knftables.IsNotFound(err) {
		return err
	}
	return nil
}

// Remove removes the table; a missing one is no error.
func (t *Table) Remove(ctx context.Context) error {
	nft, err := t.open()
	if err != nil {
		return err
	}
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("remove nftables table %s: %w", t.name, err)
	}
	return nil
}

// element returns the map element of a valid mapping.
func element(m Mapping) *knftables.Element {
	k := m.Key()
	port := strconv.Itoa(int(k.HostPort))
	e := &knftables.Element{
		Map:   mapAny,
		Key:   []string{k.Protocol, port},
		Value: []string{m.PodIP.Unmap().String(), strconv.Itoa(int(m.PodPort))},
	}
	if k.HostIP.IsValid() {
		e.Map, e.Key = mapAddress, []string{k.Protocol, k.HostIP.String(), port}
	}
	return e
}
