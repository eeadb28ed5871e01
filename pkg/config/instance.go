package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// InstanceID is what tells the traces of one instance from those of another on
// the same machine: 8 hex digits that follow from the data directory, so that
// they can be found again even when that directory has gone.
func (c Config) InstanceID() string {
	sum := sha256.Sum256([]byte(filepath.Clean(c.DataDir)))
	return hex.EncodeToString(sum[:4])
}

// KubeconfigPath is the administrator's kubeconfig.
func (c Config) KubeconfigPath() string { return filepath.Join(c.DataDir, "admin.kubeconfig") }

// PodsDir holds a directory a pod: volumes, files and logs.
func (c Config) PodsDir() string { return filepath.Join(c.DataDir, "pods") }

// VolumesDir holds the volumes that carob makes for claims, a directory each.
func (c Config) VolumesDir() string { return filepath.Join(c.DataDir, "volumes") }

// AgentSocket is where the API server reaches this machine's agent.
func (c Config) AgentSocket() string { return filepath.Join(c.RunDir, "agent.sock") }

// KeeperSocket is where the process that keeps log pipes open answers.
func (c Config) KeeperSocket() string { return filepath.Join(c.RunDir, "keeper.sock") }

// PIDFile holds the process ID of the running carob.
func (c Config) PIDFile() string { return filepath.Join(c.RunDir, "carob.pid") }

// LockFile is held, locked, by the running carob.
func (c Config) LockFile() string { return filepath.Join(c.DataDir, "lock") }

// PrivateContainerd are the paths of a containerd that carob starts itself.
func (c Config) PrivateContainerd() (root, state, socket string) {
	state = filepath.Join(c.RunDir, "containerd")
	return filepath.Join(c.DataDir, "containerd"), state, filepath.Join(state, "containerd.sock")
}

// CNIBinDirs are the directories of CNIBinDir.
func (c Config) CNIBinDirs() []string {
	return strings.FieldsFunc(c.CNIBinDir, func(r rune) bool { return r == ':' || r == ',' })
}

func (c Config) savedPath() string { return filepath.Join(c.DataDir, "instance.yaml") }

// Save writes the settings an instance runs with to its data directory, for
// the commands that come later and know only that directory.
func (c Config) Save() error {
	data, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	tmp := c.savedPath() + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, c.savedPath())
}

// Saved returns the settings with which the instance of this data directory
// was last started, or c itself where it never was.
func (c Config) Saved() (Config, error) {
	data, err := os.ReadFile(c.savedPath())
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return Config{}, err
	}
	s := c
	// What is read goes into maps that are there, and these are c's.
	s.Runtimes, s.Node = nil, s.withoutMaps()
	if err := decode(&s, c.savedPath(), data); err != nil {
		return Config{}, err
	}
	if err := s.Validate(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", c.savedPath(), err)
	}
	s.DataDir = c.DataDir
	return s, nil
}
