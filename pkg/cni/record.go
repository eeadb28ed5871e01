package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/carob-project/carob/pkg/hostport"
)

// PortMapping leads a port of the host to a port of the attached namespace.
type PortMapping struct {
	// Protocol is tcp, udp or sctp.
	Protocol string `json:"protocol"`
	HostPort uint16 `json:"hostPort"`
	// HostIP is the host's address; invalid: all of them.
	HostIP        netip.Addr `json:"hostIP,omitzero"`
	ContainerPort uint16     `json:"containerPort"`
}

// record is everything about one attachment, as it lies on the disk.
type record struct {
	ID     string `json:"id"`
	NetNS  string `json:"netns"`
	IfName string `json:"ifName"`
	// Inode tells the namespace from a later one at the same path.
	Inode string `json:"inode"`
	// Network and Config are the chain as it was run.
	Network      string         `json:"network"`
	Config       []byte         `json:"config"`
	Own          bool           `json:"own,omitempty"`
	Args         [][2]string    `json:"args,omitempty"`
	Capabilities map[string]any `json:"capabilities,omitempty"`
	Ports        []PortMapping  `json:"ports,omitempty"`
	// Attached says that ADD succeeded, with IPs as result.
	Attached bool         `json:"attached,omitempty"`
	IPs      []netip.Addr `json:"ips,omitempty"`
}

// mappings returns the ports as hostport takes them. Without an IPv4 address
// there is nothing to lead them to.
func (r *record) mappings() []hostport.Mapping {
	i := slices.IndexFunc(r.IPs, netip.Addr.Is4)
	if i < 0 || !r.Own {
		return nil
	}
	out := make([]hostport.Mapping, 0, len(r.Ports))
	for _, p := range r.Ports {
		out = append(out, hostport.Mapping{
			Protocol: p.Protocol, HostIP: p.HostIP, HostPort: p.HostPort,
			PodIP: r.IPs[i], PodPort: p.ContainerPort,
		})
	}
	return out
}

// keys returns what the ports occupy on the host.
func (r *record) keys() []hostport.Key {
	if !r.Own {
		return nil
	}
	out := make([]hostport.Key, 0, len(r.Ports))
	for _, p := range r.Ports {
		out = append(out, hostport.Mapping{Protocol: p.Protocol, HostIP: p.HostIP, HostPort: p.HostPort}.Key())
	}
	return out
}

// decodeRecord decodes a record and checks what its undoing relies on.
func decodeRecord(data []byte) (*record, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	if !validID(r.ID) || r.IfName == "" || r.Network == "" {
		return nil, errors.New("incomplete attachment record")
	}
	list, err := decodeConf(r.Config)
	if err != nil {
		return nil, err
	}
	if list.Name != r.Network {
		return nil, errors.New("attachment record of another network")
	}
	return &r, nil
}

// store keeps records as files named by their ID.
type store struct {
	dir string
}

const recordSuffix = ".json"

func (s store) path(id string) string { return filepath.Join(s.dir, id+recordSuffix) }

// read returns nil where there is no record. A broken one is an error.
func (s store) read(id string) (*record, error) {
	data, err := os.ReadFile(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read attachment record: %w", err)
	}
	r, err := decodeRecord(data)
	if err == nil && r.ID != id {
		err = errors.New("the ID differs from the file's name")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errBroken, s.path(id), err)
	}
	return r, nil
}

// errBroken: a record that cannot be decoded. It still says that something may
// be attached under its ID.
var errBroken = errors.New("broken attachment record")

// write replaces the record as a whole.
func (s store) write(r *record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode attachment record: %w", err)
	}
	return writeFile(s.path(r.ID), data)
}

// writeFile replaces a file as a whole: readers see the old or the new one.
func writeFile(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

func (s store) remove(id string) error {
	err := os.Remove(s.path(id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove attachment record: %w", err)
	}
	return nil
}

// ids lists all records, broken ones included.
func (s store) ids() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list attachment records: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), recordSuffix); ok && validID(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
