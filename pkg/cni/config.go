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

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"
)

// ErrConfig: the CNI configuration or its plugins cannot be used. The message
// names the file and what is wrong with it.
var ErrConfig = errors.New("CNI configuration")

// DefaultConfDir and DefaultBinDirs are where CNI is installed by custom.
const DefaultConfDir = "/etc/cni/net.d"

// DefaultBinDirs returns the directories that are searched for plugins.
func DefaultBinDirs() []string {
	return []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"}
}

// cniVersion of carob's own configuration: plugins of every distribution in
// use speak it.
const cniVersion = "0.4.0"

// chain is a loaded configuration.
type chain struct {
	list *libcni.NetworkConfigList
	// own says that it is carob's own network, file is then empty.
	own  bool
	file string
}

// findConf returns the first configuration file of dir in lexical order, or
// an empty name where there is none.
func findConf(dir string) (string, error) {
	entries, err := os.ReadDir(dir) // sorted
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrConfig, err)
	}
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".conflist", ".conf", ".json":
			if !e.IsDir() {
				return filepath.Join(dir, e.Name()), nil
			}
		}
	}
	return "", nil
}

// loadConf reads a configuration file. Every error wraps ErrConfig and names
// the file.
func loadConf(file string) (*libcni.NetworkConfigList, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	list, err := decodeConf(data)
	if err == nil && !list.LoadOnlyInlinedPlugins {
		var more []*libcni.PluginConfig
		more, err = libcni.NetworkPluginConfsFromFiles(filepath.Dir(file), list.Name)
		list.Plugins = append(list.Plugins, more...)
	}
	if err == nil && len(list.Plugins) == 0 {
		err = errors.New("it names no plugins")
	}
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrConfig, file, err)
	}
	return list, nil
}

// decodeConf decodes a list of plugins, or a single plugin as a list of one,
// whatever the file is called.
func decodeConf(data []byte) (*libcni.NetworkConfigList, error) {
	var head struct {
		Type    string          `json:"type"`
		Plugins json.RawMessage `json:"plugins"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("it is not valid JSON: %w", err)
	}
	list, err := decodeList(data, head.Type != "" && head.Plugins == nil)
	if err != nil {
		return nil, err
	}
	if cerr := utils.ValidateNetworkName(list.Name); cerr != nil {
		return nil, fmt.Errorf("invalid name %q: %w", list.Name, cerr)
	}
	if list.CNIVersion != "" && !slices.Contains(version.All.SupportedVersions(), list.CNIVersion) {
		return nil, fmt.Errorf("unknown cniVersion %q", list.CNIVersion)
	}
	for i, p := range list.Plugins {
		if strings.ContainsRune(p.Network.Type, os.PathSeparator) {
			return nil, fmt.Errorf("plugin %d: invalid type %q", i, p.Network.Type)
		}
	}
	return list, nil
}

// decodeList decodes a list; a single plugin is made a list of one.
func decodeList(data []byte, single bool) (*libcni.NetworkConfigList, error) {
	if single {
		var head struct {
			Name       string `json:"name,omitempty"`
			CNIVersion string `json:"cniVersion,omitempty"`
			// Plugins and Inlined are not read: a single plugin has neither.
			Plugins []json.RawMessage `json:"plugins"`
			Inlined bool              `json:"loadOnlyInlinedPlugins"`
		}
		if err := json.Unmarshal(data, &head); err != nil {
			return nil, err
		}
		if head.Name == "" {
			return nil, errors.New("it has no name")
		}
		head.Plugins, head.Inlined = []json.RawMessage{data}, true
		var err error
		if data, err = json.Marshal(head); err != nil {
			return nil, err
		}
	}
	return libcni.NetworkConfFromBytes(data)
}

// ownConf returns the configuration of carob's own network.
func ownConf(name, ipamDir string, cidr netip.Prefix) (*libcni.NetworkConfigList, error) {
	type object = map[string]any
	data, err := json.Marshal(object{
		"cniVersion": cniVersion,
		"name":       name,
		"plugins": []object{{
			"type":        "bridge",
			"bridge":      name,
			"isGateway":   true,
			"hairpinMode": true,
			// Package hostport masquerades.
			"ipMasq": false,
			"ipam": object{
				"type":    "host-local",
				"dataDir": ipamDir,
				"ranges":  [][]object{{{"subnet": cidr.String(), "gateway": gateway(cidr).String()}}},
				"routes":  []object{{"dst": "0.0.0.0/0"}},
			},
		}},
	})
	if err != nil {
		return nil, err
	}
	return libcni.NetworkConfFromBytes(data)
}

// checkPlugins tells whether every program the chain needs is installed.
func checkPlugins(list *libcni.NetworkConfigList, dirs []string) error {
	for _, p := range list.Plugins {
		for _, name := range []string{p.Network.Type, p.Network.IPAM.Type} {
			if name != "" && !installed(name, dirs) {
				return fmt.Errorf("%w %s: plugin %q is not installed in %s (install the CNI plugins, or give --cni-bin-dir)",
					ErrConfig, list.Name, name, strings.Join(dirs, ", "))
			}
		}
	}
	return nil
}

func installed(name string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		fi, err := os.Stat(filepath.Join(dir, name))
		return err == nil && fi.Mode().IsRegular()
	})
}

// hasCapability says whether a plugin of the chain takes the capability.
func hasCapability(list *libcni.NetworkConfigList, capability string) bool {
	return slices.ContainsFunc(list.Plugins, func(p *libcni.PluginConfig) bool {
		return p.Network.Capabilities[capability]
	})
}
