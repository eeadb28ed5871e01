package ctrd

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/carob-project/carob/pkg/pod"
)

const (
	defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// termEnv tells programs what the terminal of a client understands.
	termEnv = "TERM=xterm"
)

// specInput is everything an OCI spec follows from.
type specInput struct {
	id     string
	req    pod.CreateRequest
	image  ocispec.ImageConfig
	user   specs.User
	host   host
	cgroup string
	// init is the program carob-init on the node.
	init string
	// processes is the path of the PID namespace to join; empty: its own.
	processes string
	// seccomp is the profile that the request names, if it names one.
	seccomp *specs.LinuxSeccomp
	// appArmor is the name of a profile; empty: none.
	appArmor string
	labels   seLabels
}

// buildSpec makes the OCI spec of an attempt. It reads nothing but its input
// and what containerd's defaults take from the kernel.
func buildSpec(in specInput) (*specs.Spec, error) {
	in.req = withInit(in.req, in.init)
	args := processArgs(in.image, in.req)
	if len(args) == 0 {
		return nil, fmt.Errorf("%w: no command: neither the image nor the container names one", pod.ErrConfig)
	}
	cwd := in.req.WorkingDir
	if cwd == "" {
		cwd = in.image.WorkingDir
	}
	if cwd == "" {
		cwd = "/"
	}
	if !path.IsAbs(cwd) {
		return nil, fmt.Errorf("%w: working directory %q is not absolute", pod.ErrConfig, cwd)
	}
	// The library wants a namespace for a default that is overwritten below.
	ctx := namespaces.WithNamespace(context.Background(), "default")
	s, err := oci.GenerateSpec(ctx, nil, &containers.Container{ID: in.id}, oci.WithDefaultUnixDevices)
	if err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	s.Annotations = map[string]string{groupAnnotation: string(in.req.Pod.UID)}
	if in.req.Reaper {
		args = slices.Concat([]string{initInside, "--"}, args)
	}
	s.Process.Args = args
	s.Process.Cwd = cwd
	s.Process.Env = processEnv(in.image.Env, in.req)
	s.Process.Terminal = in.req.TTY
	s.Process.User = in.user
	s.Process.Rlimits = nil
	oom := max(in.req.OOMScoreAdj, in.host.minOOM)
	s.Process.OOMScoreAdj = &oom
	s.Linux.CgroupsPath = in.cgroup
	s.Linux.Namespaces = linuxNamespaces(in.req, in.processes, in.host.cgroupV2)
	s.Linux.UIDMappings = idMappings(in.req.Sandbox.Users)
	s.Linux.GIDMappings = idMappings(in.req.Sandbox.Users)
	setResources(s.Linux.Resources, in.req.Resources, in.host.swap)
	s.Linux.Resources.HugepageLimits = hugePageLimits(in.req.Resources, in.host.hugePages)
	if in.host.cgroupV2 {
		s.Linux.Resources.Unified = unified(in.req.Resources)
	}
	s.Mounts = specMounts(s.Mounts, in.req)
	s.Linux.RootfsPropagation = rootPropagation(in.req.Mounts)
	if err := secure(s, in); err != nil {
		return nil, err
	}
	s.Version = ociVersion(s)
	return s, nil
}

// ociVersion is the version of the OCI runtime specification that the spec
// needs, the lowest: a runtime older than its library's, as crun 1.8, refuses
// what is newer than itself.
func ociVersion(s *specs.Spec) string {
	for _, m := range s.Mounts {
		if len(m.UIDMappings)+len(m.GIDMappings) > 0 {
			return specs.Version
		}
	}
	return "1.0.2"
}

// processArgs follows Kubernetes: command replaces the image's entry point and
// with it the image's arguments; args alone replace the image's arguments.
func processArgs(img ocispec.ImageConfig, r pod.CreateRequest) []string {
	switch {
	case len(r.Command) > 0:
		return slices.Concat(r.Command, r.Args)
	case len(r.Args) > 0:
		return slices.Concat(img.Entrypoint, r.Args)
	default:
		return slices.Concat(img.Entrypoint, img.Cmd)
	}
}

// processEnv merges, later ones winning: a default PATH, TERM where there is a
// terminal, the image's environment, HOSTNAME, and the request's. A variable keeps the place where
// it first appeared.
func processEnv(image []string, r pod.CreateRequest) []string {
	all := []string{defaultPath}
	if r.TTY {
		all = append(all, termEnv)
	}
	all = append(all, image...)
	if r.Hostname != "" {
		all = append(all, "HOSTNAME="+r.Hostname)
	}
	for _, e := range r.Env {
		all = append(all, e.Name+"="+e.Value)
	}
	var env []string
	at := map[string]int{}
	for _, e := range all {
		name, _, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			continue
		}
		if i, seen := at[name]; seen {
			env[i] = e
			continue
		}
		at[name] = len(env)
		env = append(env, e)
	}
	return env
}

// linuxNamespaces: own mount and PID namespaces, unless there are processes to
// share, the sandbox's by path. An empty path means the host's, which is what
// leaving it out means to OCI.
func linuxNamespaces(r pod.CreateRequest, processes string, cgroupV2 bool) []specs.LinuxNamespace {
	n := r.Sandbox.Namespaces
	all := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if !r.HostPID {
		all = append(all, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: processes})
	}
	for _, ns := range []specs.LinuxNamespace{
		{Type: specs.NetworkNamespace, Path: n.Net},
		{Type: specs.IPCNamespace, Path: n.IPC},
		{Type: specs.UTSNamespace, Path: n.UTS},
		{Type: specs.UserNamespace, Path: n.User},
	} {
		if ns.Path != "" {
			all = append(all, ns)
		}
	}
	if cgroupV2 {
		all = append(all, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return all
}

func setResources(to *specs.LinuxResources, r pod.Resources, swap bool) {
	cpu := &specs.LinuxCPU{}
	if r.CPUShares != 0 {
		cpu.Shares = &r.CPUShares
	}
	if r.CPUQuota != 0 {
		cpu.Quota = &r.CPUQuota
	}
	if r.CPUPeriod != 0 {
		cpu.Period = &r.CPUPeriod
	}
	to.CPU = cpu
	if r.MemoryLimit == 0 {
		return
	}
	to.Memory = &specs.LinuxMemory{Limit: &r.MemoryLimit}
	if swap {
		// Memory and swap together as memory alone: no swap.
		to.Memory.Swap = &r.MemoryLimit
	}
}

// unified are the files of cgroup v2 that OCI has no fields for.
func unified(r pod.Resources) map[string]string {
	files := pod.MemoryFiles(r)
	// As Kubernetes has it: out of memory, the container ends as a whole.
	// Half of its processes would be a state nobody can restart it from.
	files["memory.oom.group"] = "1"
	return files
}

// hugePageLimits allows what was asked for, and nothing of the other sizes.
func hugePageLimits(r pod.Resources, sizes []int64) []specs.LinuxHugepageLimit {
	var out []specs.LinuxHugepageLimit
	for _, size := range sizes {
		out = append(out, specs.LinuxHugepageLimit{Pagesize: pod.HugePageName(size), Limit: uint64(max(r.HugePages[size], 0))})
	}
	return out
}

// specMounts are containerd's default mounts without /run, a cgroup mount, the
// sandbox's shared memory, and the request's; these replace a default of the
// same destination. Parents come before what is mounted below them.
func specMounts(defaults []specs.Mount, r pod.CreateRequest) []specs.Mount {
	mounts := slices.DeleteFunc(slices.Clone(defaults), func(m specs.Mount) bool {
		return m.Destination == "/run" || m.Destination == "/dev/shm"
	})
	mounts = append(mounts, specs.Mount{
		Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
		Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"},
	})
	shm := r.Sandbox.ShmPath
	if shm == "" && r.Sandbox.Namespaces.IPC == "" {
		shm = "/dev/shm"
	}
	if shm != "" {
		mounts = append(mounts, specs.Mount{
			Destination: "/dev/shm", Type: "bind", Source: shm,
			Options: []string{"rbind", "rprivate", "rw", "nosuid", "noexec", "nodev"},
		})
	}
	for _, m := range r.Mounts {
		dest := path.Clean("/" + m.ContainerPath)
		mounts = slices.DeleteFunc(mounts, func(o specs.Mount) bool { return o.Destination == dest })
		mount := specs.Mount{Destination: dest, Type: "bind", Source: m.HostPath, Options: bindOptions(m)}
		if !m.Mapped {
			mount.UIDMappings, mount.GIDMappings = idMappings(r.Sandbox.Users), idMappings(r.Sandbox.Users)
		}
		mounts = append(mounts, mount)
	}
	slices.SortStableFunc(mounts, func(a, b specs.Mount) int { return depth(a.Destination) - depth(b.Destination) })
	return mounts
}

func bindOptions(m pod.Mount) []string {
	bind, access := "bind", "rw"
	if m.Recursive {
		bind = "rbind"
	}
	if m.ReadOnly {
		access = "ro"
	}
	if m.ReadOnly && m.RecursiveReadOnly {
		access = "rro"
	}
	return []string{bind, propagation(m), access}
}

func depth(p string) int {
	if p == "/" {
		return 0
	}
	return strings.Count(p, "/")
}
