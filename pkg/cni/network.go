package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"
	"go.uber.org/zap"

	"github.com/carob-project/carob/pkg/cni/keylock"
	"github.com/carob-project/carob/pkg/hostport"
)

// undoWait bounds an undo; it runs although the context of what failed is over.
const undoWait = 30 * time.Second

// Options say where a Network finds and keeps things.
type Options struct {
	// Name is that of carob's own network, its bridge and its nftables
	// table: carob-<instance ID>, at most 15 characters.
	Name string
	// ConfDir holds the user's CNI configuration; empty: DefaultConfDir.
	ConfDir string
	// BinDirs hold the plugins; empty: DefaultBinDirs.
	BinDirs []string
	// StateDir is the Network's own directory, for this boot.
	StateDir string
	// PodCIDR is for carob's own network; the zero prefix lets it choose.
	PodCIDR netip.Prefix
	// Doors lead what is attached to carob's own network, and nobody else, to
	// listeners of this host.
	Doors []hostport.Door
	// Log may be nil.
	Log *zap.Logger
}

// Network attaches namespaces. It is safe for concurrent use; calls for the
// same ID run one after the other.
type Network struct {
	opts    Options
	log     *zap.Logger
	lib     *libcni.CNIConfig
	records store
	locks   keylock.Locks
	ports   *portBook
	table   *hostport.Table

	// mu guards the making of carob's own network.
	mu       sync.Mutex
	prepared bool
	cidr     netip.Prefix
}

// New returns the network with what earlier runs have left in its state
// directory. It changes nothing outside of the process.
func New(opts Options) (*Network, error) {
	if cerr := utils.ValidateInterfaceName(opts.Name); cerr != nil {
		return nil, fmt.Errorf("network name %q: %w", opts.Name, cerr)
	}
	if !filepath.IsAbs(opts.StateDir) {
		return nil, fmt.Errorf("network state directory %q is not absolute", opts.StateDir)
	}
	if opts.ConfDir == "" {
		opts.ConfDir = DefaultConfDir
	}
	if len(opts.BinDirs) == 0 {
		opts.BinDirs = DefaultBinDirs()
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	exec := &tracedExec{&invoke.DefaultExec{RawExec: &invoke.RawExec{}, PluginDecoder: version.PluginDecoder{}}}
	table := hostport.New(opts.Name, opts.Name, opts.Doors...)
	n := &Network{
		opts:    opts,
		log:     opts.Log,
		lib:     libcni.NewCNIConfigWithCacheDir(opts.BinDirs, filepath.Join(opts.StateDir, "cache"), exec),
		records: store{dir: filepath.Join(opts.StateDir, "attachments")},
		ports:   newPortBook(table),
		table:   table,
	}
	return n, n.adopt()
}

// adopt takes over the host ports of earlier runs.
func (n *Network) adopt() error {
	ids, err := n.records.ids()
	if err != nil {
		return err
	}
	for _, id := range ids {
		r, err := n.records.read(id)
		if err != nil {
			n.log.Warn("attachment record is broken", zap.String("id", id), zap.Error(err))
			continue
		}
		if r != nil {
			n.ports.adopt(r)
		}
	}
	return nil
}

func (n *Network) ipamDir() string { return filepath.Join(n.opts.StateDir, "ipam") }

// Status tells whether an Attach can work: whether the configuration parses
// and its plugins are installed. Its error wraps ErrConfig or ErrCIDR.
func (n *Network) Status(ctx context.Context) error {
	c, err := n.load(ctx)
	if err != nil {
		return err
	}
	return checkPlugins(c.list, n.opts.BinDirs)
}

// Describe returns where the configuration comes from: a file's name, or the
// name of carob's own network. A file that does not parse, or whose plugins are
// not installed, is an error that wraps ErrConfig. It changes nothing.
func (n *Network) Describe() (string, error) {
	file, err := findConf(n.opts.ConfDir)
	if err != nil || file == "" {
		return n.opts.Name, err
	}
	list, err := loadConf(file)
	if err == nil {
		err = checkPlugins(list, n.opts.BinDirs)
	}
	return file, err
}

// Prepare makes carob's own network ahead of the first attachment, and mends
// it where something has taken parts of it away. With a configuration of the
// user's there is nothing to do.
func (n *Network) Prepare(ctx context.Context) error {
	file, err := findConf(n.opts.ConfDir)
	if err != nil || file != "" {
		return err
	}
	_, err = n.prepareOwn(ctx, true)
	return err
}

// CIDR returns the pod CIDR of carob's own network once it is prepared, else
// the zero prefix.
func (n *Network) CIDR() netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cidr
}

// load returns the chain to attach with now. The configuration is read anew
// each time: what the user changes holds from the next attachment on.
func (n *Network) load(ctx context.Context) (chain, error) {
	file, err := findConf(n.opts.ConfDir)
	if err != nil {
		return chain{}, err
	}
	if file != "" {
		list, err := loadConf(file)
		return chain{list: list, file: file}, err
	}
	cidr, err := n.ownCIDR(ctx)
	if err != nil {
		return chain{}, err
	}
	list, err := ownConf(n.opts.Name, n.ipamDir(), cidr)
	return chain{list: list, own: true}, err
}

// flatten writes a chain as one document that needs no other file.
func flatten(list *libcni.NetworkConfigList) ([]byte, error) {
	plugins := make([]json.RawMessage, 0, len(list.Plugins))
	for _, p := range list.Plugins {
		plugins = append(plugins, p.Bytes)
	}
	return json.Marshal(map[string]any{
		"cniVersion":             list.CNIVersion,
		"name":                   list.Name,
		"disableCheck":           list.DisableCheck,
		"loadOnlyInlinedPlugins": true,
		"plugins":                plugins,
	})
}

// runtimeConf is a record in libcni's terms.
func (r *record) runtimeConf() *libcni.RuntimeConf {
	args := map[string]any{}
	for k, v := range r.Capabilities {
		args[k] = v
	}
	if len(r.Ports) > 0 && !r.Own {
		args["portMappings"] = portMappings(r.Ports)
	}
	return &libcni.RuntimeConf{
		ContainerID:    r.ID,
		NetNS:          r.NetNS,
		IfName:         r.IfName,
		Args:           slices.Clone(r.Args),
		CapabilityArgs: args,
	}
}

// portMappings are ports as the capability of that name defines them.
func portMappings(ports []PortMapping) []map[string]any {
	out := make([]map[string]any, 0, len(ports))
	for _, p := range ports {
		m := map[string]any{
			"hostPort":      p.HostPort,
			"containerPort": p.ContainerPort,
			"protocol":      strings.ToLower(p.Protocol),
		}
		if p.HostIP.IsValid() {
			m["hostIP"] = p.HostIP.String()
		}
		out = append(out, m)
	}
	return out
}

func validID(id string) bool {
	return utils.ValidateContainerID(id) == nil && len(id) <= 200
}

// undoContext outlives the context of what has to be undone.
func undoContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), undoWait)
}

// removeAll removes paths, all of them also where one fails.
func removeAll(paths ...string) error {
	var errs []error
	for _, p := range paths {
		errs = append(errs, os.RemoveAll(p))
	}
	return errors.Join(errs...)
}
