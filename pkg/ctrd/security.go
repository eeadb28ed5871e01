package ctrd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/carob-project/carob/pkg/pod"
)

// secure holds a spec to what the request says about security. The spec has
// containerd's defaults and its mounts.
func secure(s *specs.Spec, in specInput) error {
	sec := &in.req.Security
	names, err := capabilities(s.Process.Capabilities.Bounding, sec, in.host.capabilities)
	if err != nil {
		return err
	}
	// Nothing is inheritable: what a file of the image says about inherited
	// capabilities must not add to this list.
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
	s.Process.NoNewPrivileges = sec.NoNewPrivileges
	s.Process.ApparmorProfile = in.appArmor
	s.Process.SelinuxLabel = in.labels.process.String()
	s.Linux.MountLabel = in.labels.files.String()
	s.Root.Readonly = sec.ReadOnlyRoot
	if sec.UnmaskedProc {
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	}
	if sec.Privileged {
		if err := unconfine(s); err != nil {
			return err
		}
	}
	switch {
	case !in.host.seccomp || sec.Unconfined:
		s.Linux.Seccomp = nil
	case sec.SeccompProfile != "":
		s.Linux.Seccomp = in.seccomp
	default:
		// It depends on the capabilities.
		s.Linux.Seccomp = seccomp.DefaultProfile(s)
	}
	return nil
}

// capabilities returns what is left of the defaults after adding and dropping.
// available are those that this process could hand on; nil: unknown. One that
// is asked for by name and is not among them is an error that wraps
// pod.ErrConfig.
func capabilities(defaults []string, sec *pod.Security, available []string) ([]string, error) {
	const all = "ALL"
	names := slices.Clone(defaults)
	if sec.Privileged || slices.Contains(sec.AddCapabilities, all) {
		names = slices.Clone(available)
	}
	if slices.Contains(sec.DropCapabilities, all) && !sec.Privileged {
		names = nil
	}
	for _, c := range sec.AddCapabilities {
		name := "CAP_" + c
		if c == all || slices.Contains(names, name) {
			continue
		}
		if available != nil && !slices.Contains(available, name) {
			return nil, fmt.Errorf("%w: capability %s is not there on this node", pod.ErrConfig, name)
		}
		names = append(names, name)
	}
	return slices.DeleteFunc(names, func(name string) bool {
		return !sec.Privileged && slices.Contains(sec.DropCapabilities, strings.TrimPrefix(name, "CAP_"))
	}), nil
}

// unconfine gives a container the node's devices and kernel interfaces.
func unconfine(s *specs.Spec) error {
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
	for i := range s.Mounts {
		m := &s.Mounts[i]
		if m.Type == "sysfs" || m.Type == "cgroup" {
			m.Options = slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "ro" })
			m.Options = append(m.Options, "rw")
		}
	}
	devices, err := oci.HostDevices()
	if err != nil {
		return fmt.Errorf("devices of the node: %w", err)
	}
	s.Linux.Devices = devices
	s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	return nil
}

// userName is the user of an attempt as it is looked up in the image's files.
func userName(image string, sec *pod.Security) string {
	name := image
	if name == "" {
		name = "0"
	}
	if sec.RunAsUser != nil {
		name = strconv.FormatInt(*sec.RunAsUser, 10)
	}
	if sec.RunAsGroup != nil {
		name, _, _ = strings.Cut(name, ":")
		name += ":" + strconv.FormatInt(*sec.RunAsGroup, 10)
	}
	return name
}

// userFor returns the user and the groups of an attempt.
func (r *Runtime) userFor(ctx context.Context, img *imageInfo, sec *pod.Security) (specs.User, error) {
	user := img.user
	if name := userName(img.config.User, sec); name != userName(img.config.User, &pod.Security{}) {
		known, ok := img.users.Load(name)
		if !ok {
			found, err := r.resolveUser(ctx, img, name)
			if err != nil {
				return specs.User{}, err
			}
			known, _ = img.users.LoadOrStore(name, found)
		}
		user = known.(specs.User)
	}
	return withGroups(user, sec), nil
}

// withGroups adds the pod's groups to a user of the image.
func withGroups(user specs.User, sec *pod.Security) specs.User {
	groups := slices.Clone(user.AdditionalGids)
	if sec.StrictGroups {
		groups = []uint32{user.GID}
	}
	for _, g := range sec.SupplementalGroups {
		if !slices.Contains(groups, uint32(g)) {
			groups = append(groups, uint32(g))
		}
	}
	user.AdditionalGids = groups
	return user
}

// maxProfile is far more than a profile that lists every call needs.
const maxProfile = 4 << 20

// localProfile reads a seccomp profile below dir; no link leads out of it.
func localProfile(dir, name string) (_ *specs.LinuxSeccomp, err error) {
	full := filepath.Join(dir, name)
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot load seccomp profile %q: %w", full, err)
		}
	}()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxProfile))
	if err != nil {
		return nil, err
	}
	return decodeProfile(data)
}

// decodeProfile reads the form that the OCI runtime specification has.
func decodeProfile(data []byte) (*specs.LinuxSeccomp, error) {
	var profile specs.LinuxSeccomp
	if err := json.Unmarshal(data, &profile); err != nil {
		return nil, fmt.Errorf("decoding it: %w", err)
	}
	if profile.DefaultAction == "" {
		return nil, fmt.Errorf("%w: it has no defaultAction", pod.ErrConfig)
	}
	return &profile, nil
}
