// Package config holds the settings of one carob instance: flags, the config
// file whose keys are the flags' names, defaults, and the names and paths that
// follow from them. It must not know what any part does with its settings, and
// it starts nothing.
package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// DefaultFile is read when --config is not given and the file exists.
const DefaultFile = "/etc/carob/config.yaml"

// DefaultContainerdAddress is where a system's containerd listens.
const DefaultContainerdAddress = "/run/containerd/containerd.sock"

// Config is the settings of one instance. The key of a setting in the config
// file is the name of its flag.
type Config struct {
	DataDir string `json:"data-dir"`
	RunDir  string `json:"run-dir"`
	// Listen is the address of the API, host:port.
	Listen   string `json:"listen"`
	NodeName string `json:"node-name"`
	// PodCIDR is the range pods get their IPs from; empty: carob chooses a
	// free one at its first start and keeps it.
	PodCIDR string `json:"pod-cidr"`
	// ContainerdAddress is the socket of a containerd; empty: the system's
	// where it answers, else a private one that carob starts.
	ContainerdAddress   string `json:"containerd-address"`
	ContainerdNamespace string `json:"containerd-namespace"`
	CNIConfDir          string `json:"cni-conf-dir"`
	// CNIBinDir is one directory, or several with a colon between them.
	CNIBinDir string `json:"cni-bin-dir"`
	// Runtimes are what the handlers of runtime classes stand for. They have
	// no flag.
	Runtimes map[string]Runtime `json:"runtimes,omitempty"`
	// RegistryConfigDir holds a directory a registry, with a hosts.toml as
	// containerd reads it.
	RegistryConfigDir string `json:"registry-config-dir"`
	// ImageCredentialProviderConfig is a CredentialProviderConfig, a file or a
	// directory of them, whose plugins are in ImageCredentialProviderBinDir.
	ImageCredentialProviderConfig string `json:"image-credential-provider-config"`
	ImageCredentialProviderBinDir string `json:"image-credential-provider-bin-dir"`
	// MaxParallelPulls is how many images are pulled from one registry at once.
	MaxParallelPulls int64 `json:"max-parallel-pulls"`
	// Init gives every container an init that reaps orphans, where the pod's
	// annotation carob.dev/init does not say otherwise.
	Init bool `json:"init"`
	// PodPIDsLimit is how many processes and threads a pod may have; none
	// where it is not positive.
	PodPIDsLimit int64 `json:"pod-pids-limit"`
	Memory
	// Manifests is a folder that is kept applied; empty: none.
	Manifests string `json:"manifests"`
	Node
	Tracing
	LogLevel  string `json:"log-level"`
	LogFormat string `json:"log-format"`
}

// Runtime is a way to run containers.
type Runtime struct {
	// Type is containerd's runtime; empty: that of runc.
	Type string `json:"type,omitempty"`
	// Binary is the OCI runtime that it calls; empty: its own default.
	Binary string `json:"binary,omitempty"`
}

// DefaultRuntime is the handler that every node has.
const DefaultRuntime = "runc"

// Handlers names what runtime classes may choose, in order.
func (c Config) Handlers() []string {
	all := map[string]Runtime{DefaultRuntime: {}}
	maps.Copy(all, c.Runtimes)
	return slices.Sorted(maps.Keys(all))
}

// Default returns the settings of an instance that was told nothing.
func Default() Config {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	return Config{
		DataDir:             "/var/lib/carob",
		RunDir:              "/run/carob",
		Listen:              "127.0.0.1:6443",
		NodeName:            strings.ToLower(host),
		ContainerdNamespace: "carob",
		CNIConfDir:          "/etc/cni/net.d",
		CNIBinDir:           "/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni",
		RegistryConfigDir:   "/etc/containerd/certs.d",
		MaxParallelPulls:    3,
		PodPIDsLimit:        -1,
		Memory:              Memory{MemoryReservationPolicy: noReservation},
		Node:                defaultNode(),
		Tracing:             Tracing{TracingSamplingRatio: 1},
		LogLevel:            "warn",
		LogFormat:           "console",
	}
}

// Flags are the settings as given on a command line. Their zero value is not
// usable; see AddInstanceFlags.
type Flags struct {
	file  string
	given Config
	set   *pflag.FlagSet
}

// AddInstanceFlags adds the flags that find an instance (--config, --data-dir,
// --run-dir) to fs.
func AddInstanceFlags(fs *pflag.FlagSet) *Flags {
	d := Default()
	f := &Flags{set: fs}
	fs.StringVar(&f.file, "config", "", "config file; its keys are the names of the flags (default "+DefaultFile+" if it exists)")
	fs.StringVar(&f.given.DataDir, "data-dir", d.DataDir, "directory of everything that outlives a reboot")
	fs.StringVar(&f.given.RunDir, "run-dir", d.RunDir, "directory of sockets and sandboxes, gone with a reboot")
	return f
}

// AddUpFlags adds the settings of a running instance to fs.
func (f *Flags) AddUpFlags(fs *pflag.FlagSet) {
	d := Default()
	fs.StringVar(&f.given.Listen, "listen", d.Listen, "address and port of the API")
	fs.StringVar(&f.given.NodeName, "node-name", d.NodeName, "name of this machine's Node")
	fs.StringVar(&f.given.PodCIDR, "pod-cidr", "", "IPv4 range of the pods' addresses (default: a free one, chosen once)")
	fs.StringVar(&f.given.ContainerdAddress, "containerd-address", "", "containerd's socket (default: "+DefaultContainerdAddress+" where it answers, else a private containerd)")
	fs.StringVar(&f.given.ContainerdNamespace, "containerd-namespace", d.ContainerdNamespace, "containerd namespace of carob's containers and images")
	fs.StringVar(&f.given.CNIConfDir, "cni-conf-dir", d.CNIConfDir, "CNI configuration; carob's own bridge network where it holds none")
	fs.StringVar(&f.given.CNIBinDir, "cni-bin-dir", d.CNIBinDir, "CNI plugins; several directories with a colon between them")
	fs.StringVar(&f.given.RegistryConfigDir, "registry-config-dir", d.RegistryConfigDir, "directory with a hosts.toml a registry, as containerd reads them")
	fs.StringVar(&f.given.ImageCredentialProviderConfig, "image-credential-provider-config", "", "the kubelet's CredentialProviderConfig, a file or a directory of them")
	fs.StringVar(&f.given.ImageCredentialProviderBinDir, "image-credential-provider-bin-dir", "", "directory of the credential provider plugins")
	fs.Int64Var(&f.given.MaxParallelPulls, "max-parallel-pulls", d.MaxParallelPulls, "how many images are pulled from one registry at once")
	fs.BoolVar(&f.given.Init, "init", false, "give every container an init that reaps orphans (pods say so for themselves with the annotation carob.dev/init)")
	fs.Int64Var(&f.given.PodPIDsLimit, "pod-pids-limit", d.PodPIDsLimit, "processes and threads that a pod may have; -1: as many as the machine")
	fs.StringVar(&f.given.Manifests, "manifests", "", "a folder of manifests that is kept applied; what is removed from it is pruned")
	f.given.Memory.addFlags(fs)
	f.given.Node.addFlags(fs)
	f.given.Tracing.addFlags(fs)
	fs.StringVar(&f.given.LogLevel, "log-level", d.LogLevel, "debug, info, warn or error")
	fs.StringVar(&f.given.LogFormat, "log-format", d.LogFormat, "console or json")
}

// Load merges defaults, config file and flags, the later ones winning, and
// validates the result. changed tells which flags the user gave.
func (f *Flags) Load(changed func(name string) bool) (Config, error) {
	c := Default()
	file, must := f.file, true
	if file == "" {
		file, must = DefaultFile, false
	}
	if err := readInto(&c, file, must); err != nil {
		return Config{}, err
	}
	if err := f.override(&c, changed); err != nil {
		return Config{}, err
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return c.absolute()
}

func readInto(c *Config, file string, must bool) error {
	data, err := os.ReadFile(file) //nolint:gosec // the administrator names the file
	if errors.Is(err, os.ErrNotExist) && !must {
		return nil
	}
	if err != nil {
		return fmt.Errorf("config file: %w", err)
	}
	return decode(c, file, data)
}

func decode(c *Config, file string, data []byte) error {
	if err := yaml.UnmarshalStrict(data, c); err != nil {
		return fmt.Errorf("config file %s: %w (keys are the names of the flags of `carob up`)", file, err)
	}
	return nil
}

// override copies the given flags over c through their common keys, so that
// there is one list of settings and not two.
func (f *Flags) override(c *Config, changed func(string) bool) error {
	// JSON has no words for some numbers that a flag takes.
	var errs []error
	f.given.Tracing.validate(collect(&errs))
	f.given.validateFactor(collect(&errs))
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	all, err := yaml.Marshal(f.given)
	if err != nil {
		return err
	}
	given := map[string]any{}
	if err := yaml.Unmarshal(all, &given); err != nil {
		return err
	}
	for key := range given {
		if !changed(key) {
			delete(given, key)
		}
	}
	some, err := yaml.Marshal(given)
	if err != nil {
		return err
	}
	return yaml.UnmarshalStrict(some, c)
}

// collect returns what notes a mistake down.
func collect(errs *[]error) func(key, value, rule string) {
	return func(key, value, rule string) {
		*errs = append(*errs, fmt.Errorf("%s: %q: %s", key, value, rule))
	}
}

// Validate returns every mistake at once, each with its key.
func (c Config) Validate() error {
	var errs []error
	bad := collect(&errs)
	if c.DataDir == "" {
		bad("data-dir", c.DataDir, "must name a directory")
	}
	if c.RunDir == "" {
		bad("run-dir", c.RunDir, "must name a directory")
	}
	if c.DataDir != "" && filepath.Clean(c.DataDir) == filepath.Clean(c.RunDir) {
		bad("run-dir", c.RunDir, "must differ from data-dir")
	}
	if host, port, err := net.SplitHostPort(c.Listen); err != nil || port == "" {
		bad("listen", c.Listen, "must be address:port, such as 127.0.0.1:6443")
	} else if host != "" && host != "localhost" {
		if _, err := netip.ParseAddr(host); err != nil {
			bad("listen", c.Listen, "the part before the port must be an IP address")
		}
	}
	for _, msg := range validation.IsDNS1123Subdomain(c.NodeName) {
		bad("node-name", c.NodeName, msg)
	}
	if c.PodCIDR != "" {
		if p, err := netip.ParsePrefix(c.PodCIDR); err != nil || !p.Addr().Is4() {
			bad("pod-cidr", c.PodCIDR, "must be an IPv4 range such as 10.88.0.0/16")
		} else if p.Bits() > 28 || p.Bits() < 8 {
			bad("pod-cidr", c.PodCIDR, "must be between /8 and /28")
		}
	}
	if c.ContainerdNamespace == "" {
		bad("containerd-namespace", "", "must not be empty")
	}
	if c.ImageCredentialProviderConfig == "" && c.ImageCredentialProviderBinDir != "" {
		bad("image-credential-provider-config", "", "must be given with image-credential-provider-bin-dir")
	}
	if c.ImageCredentialProviderBinDir == "" && c.ImageCredentialProviderConfig != "" {
		bad("image-credential-provider-bin-dir", "", "must be given with image-credential-provider-config")
	}
	if c.MaxParallelPulls < 1 {
		bad("max-parallel-pulls", strconv.FormatInt(c.MaxParallelPulls, 10), "must be 1 or more")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Runtimes)) {
		for _, msg := range validation.IsDNS1123Label(name) {
			bad("runtimes", name, msg)
		}
		if b := c.Runtimes[name].Binary; b != "" && !filepath.IsAbs(b) {
			bad("runtimes."+name+".binary", b, "must be an absolute path")
		}
	}
	c.Memory.validate(bad)
	c.Node.validate(bad)
	c.Tracing.validate(bad)
	switch c.LogLevel {
	case "debug", "info", "warn", "error":
	default:
		bad("log-level", c.LogLevel, "must be debug, info, warn or error")
	}
	if c.LogFormat != "console" && c.LogFormat != "json" {
		bad("log-format", c.LogFormat, "must be console or json")
	}
	return errors.Join(errs...)
}

func (c Config) absolute() (Config, error) {
	optional := []*string{&c.Manifests, &c.ImageCredentialProviderConfig, &c.ImageCredentialProviderBinDir}
	for _, p := range append(optional, &c.DataDir, &c.RunDir, &c.CNIConfDir, &c.RegistryConfigDir) {
		if *p == "" && slices.Contains(optional, p) {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return Config{}, err
		}
		*p = abs
	}
	return c, nil
}
