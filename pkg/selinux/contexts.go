package selinux

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	kernelDir = "/sys/fs/selinux"
	// sharedContexts is a file of distributions whose container tools bring
	// their own part of the policy.
	sharedContexts = "/usr/share/containers/selinux/contexts"
	configDir      = "/etc/selinux"
)

// Enabled says whether the kernel has a policy, and this process may know.
func Enabled() bool {
	var st unix.Statfs_t
	if unix.Statfs(kernelDir, &st) != nil || st.Type != unix.SELINUX_MAGIC {
		return false
	}
	// In a container it is shown read-only: SELinux is not the container's.
	if st.Flags&unix.ST_RDONLY != 0 {
		return false
	}
	own, err := os.ReadFile("/proc/self/attr/current")
	return err == nil && strings.TrimRight(string(own), "\x00\n") != "kernel"
}

// Contexts are the labels that a policy has for containers.
type Contexts struct {
	// Process is that of their processes, File that of their files, ReadOnly
	// that of files which many share and none changes.
	Process, File, ReadOnly Label
}

// ErrNoContexts is wrapped where a policy says nothing of containers.
var ErrNoContexts = errors.New("the policy has no labels for containers")

// NodeContexts reads those of the node's policy. The error wraps ErrNoContexts
// where it has none.
func NodeContexts() (Contexts, error) { return contextsBelow("/") }

// contextsBelow reads them in a file system.
func contextsBelow(root string) (Contexts, error) {
	shared := filepath.Join(root, sharedContexts)
	f, err := os.Open(shared)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = openPolicy(filepath.Join(root, configDir))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return Contexts{}, fmt.Errorf("%w: %w", ErrNoContexts, err)
	}
	if err != nil {
		return Contexts{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	c, err := decodeContexts(f)
	if err != nil {
		return Contexts{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return c, nil
}

// openPolicy opens the file of the policy that the node's configuration names.
func openPolicy(dir string) (*os.File, error) {
	config, err := os.Open(filepath.Join(dir, "config"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = config.Close() }() // it was only read
	values, err := assignments(config)
	if err != nil {
		return nil, err
	}
	name := values["SELINUXTYPE"]
	if name == "" {
		name = "targeted"
	}
	return os.Open(filepath.Join(dir, name, "contexts", "lxc_contexts"))
}

func decodeContexts(r io.Reader) (Contexts, error) {
	values, err := assignments(r)
	if err != nil {
		return Contexts{}, err
	}
	if values["process"] == "" || values["file"] == "" {
		return Contexts{}, ErrNoContexts
	}
	if values["ro_file"] == "" {
		values["ro_file"] = values["file"]
	}
	var c Contexts
	for key, to := range map[string]*Label{"process": &c.Process, "file": &c.File, "ro_file": &c.ReadOnly} {
		if *to, err = Parse(values[key]); err != nil {
			return Contexts{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	return c, nil
}

// assignments reads lines of a name, an equals sign and a value, which may be
// quoted.
func assignments(r io.Reader) (map[string]string, error) {
	values := map[string]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok {
			values[strings.TrimSpace(key)] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return values, lines.Err()
}

// For returns the labels of a container's process and of its files. own are the
// parts that are not the policy's; where that has no level, level is taken. The
// error wraps ErrInvalid.
func (c Contexts) For(own Label, level string) (process, files Label, err error) {
	if c.Process.Level != "" {
		c.Process, c.File = c.Process.with(Label{Level: level}), c.File.with(Label{Level: level})
	}
	process = c.Process.with(own)
	files = c.File.with(Label{User: own.User, Level: own.Level})
	return process, files, errors.Join(process.check(), files.check())
}

// Known asks the kernel whether its policy has a label. The error wraps
// ErrInvalid where it has not.
func Known(l Label) error {
	err := os.WriteFile(filepath.Join(kernelDir, "context"), []byte(l.String()), 0)
	if errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("%w %q: the node's policy does not have it", ErrInvalid, l)
	}
	if err != nil {
		return fmt.Errorf("look up the SELinux label %q: %w", l, err)
	}
	return nil
}
