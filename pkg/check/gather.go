package check

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Where is what Gather looks at.
type Where struct {
	DataDir, RunDir string
	Listen          string
	// Address is containerd's socket; AddressGiven that the user named it.
	Address      string
	AddressGiven bool
	BinDirs      []string
	// Running is the process ID of the carob serving this instance, or 0.
	Running int
	// ContainerdVersion asks the containerd behind a socket.
	ContainerdVersion func(ctx context.Context, address string) (string, error)
	// InitPath is where carob-init belongs.
	InitPath string
	// CgroupDriver is the driver carob would use.
	CgroupDriver string
	// LoadCNI returns the user's CNI configuration file, empty where there
	// is none, or why it cannot be used.
	LoadCNI func() (string, error)
	// Users finds out what keeps pods from having users of their own.
	Users func(ctx context.Context) Users
}

// probeTimeout bounds each look at something that may hang.
const probeTimeout = 5 * time.Second

// Gather looks at the machine. It changes nothing, but listens for an instant
// on the address to see whether it is free.
func Gather(ctx context.Context, w Where) Facts {
	f := Facts{
		UID: os.Geteuid(), Kernel: kernelRelease(), Features: features(), CgroupDriver: w.CgroupDriver,
		Address: w.Address, AddressGiven: w.AddressGiven, BinDirs: w.BinDirs, Listen: w.Listen, Running: w.Running,
	}
	f.CgroupVersion, f.CgroupMissing = cgroupControllers()
	f.gatherContainerd(ctx, w)
	if _, err := os.Stat(w.InitPath); err != nil {
		f.InitMissing = err.Error()
	}
	for _, name := range []string{"bridge", "host-local", "loopback"} {
		f.Plugins = append(f.Plugins, Plugin{Name: name, Dir: findPlugin(w.BinDirs, name)})
	}
	if w.LoadCNI != nil {
		file, err := w.LoadCNI()
		f.CNIConfig = file
		if err != nil {
			f.CNIError = err.Error()
		}
	}
	if err := canListen(ctx, w.Listen); err != nil {
		f.ListenError = err.Error()
	}
	for _, d := range []string{w.DataDir, w.RunDir} {
		dir := lookAtDir(d)
		dir.Run = d == w.RunDir
		f.Dirs = append(f.Dirs, dir)
	}
	if w.Users != nil {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		f.Users = w.Users(ctx)
	}
	f.SysResource = hasCapability(unix.CAP_SYS_RESOURCE)
	fwd, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	f.IPForward = strings.TrimSpace(string(fwd)) == "1"
	return f
}

func (f *Facts) gatherContainerd(ctx context.Context, w Where) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if v, err := w.ContainerdVersion(ctx, w.Address); err != nil {
		f.ContainerdError = err.Error()
	} else {
		f.SystemContainerd = v
	}
	f.ContainerdBinary = versionLine(ctx, "containerd", "--version")
	f.Shim = versionLine(ctx, "containerd-shim-runc-v2", "-v")
	f.Runc = versionLine(ctx, "runc", "--version")
}

// versionLine is the first line that says a version, or the binary's path
// where it says none; empty where it is not on PATH.
func versionLine(ctx context.Context, name, flag string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	out, err := exec.CommandContext(ctx, path, flag).Output() //nolint:gosec // fixed names found on PATH
	if err != nil {
		return path
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(strings.ToLower(line), "version") || strings.HasPrefix(line, "containerd ") {
			return strings.Join(strings.Fields(line), " ") + " (" + path + ")"
		}
	}
	return path
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown: " + err.Error()
	}
	return unix.ByteSliceToString(u.Release[:])
}

func features() []Feature {
	exists := func(p string) bool { _, err := os.Stat(p); return err == nil }
	loadable := func(module string) bool {
		dir := filepath.Join("/lib/modules", kernelRelease())
		for _, list := range []string{"modules.dep", "modules.builtin"} {
			data, err := os.ReadFile(filepath.Join(dir, list)) //nolint:gosec // below /lib/modules
			if err == nil && strings.Contains(string(data), "/"+module+".ko") {
				return true
			}
		}
		return false
	}
	return []Feature{
		{"network, IPC and UTS namespaces", exists("/proc/self/ns/net") && exists("/proc/self/ns/ipc") && exists("/proc/self/ns/uts"),
			"boot a kernel with CONFIG_NET_NS, CONFIG_IPC_NS and CONFIG_UTS_NS"},
		{"overlay file system", hasFilesystem("overlay") || loadable("overlay"), "modprobe overlay, or a kernel with CONFIG_OVERLAY_FS"},
		{"nftables", nftables() || loadable("nf_tables"), "modprobe nf_tables, or a kernel with CONFIG_NF_TABLES"},
		{"seccomp", exists("/proc/sys/kernel/seccomp/actions_avail"), "boot a kernel with CONFIG_SECCOMP_FILTER"},
	}
}

func hasFilesystem(name string) bool {
	f, err := os.Open("/proc/filesystems")
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) > 0 && fields[len(fields)-1] == name {
			return true
		}
	}
	return false
}

// nftables asks the kernel whether it knows the netfilter netlink family.
func nftables() bool {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// neededControllers by the cgroup version.
var neededControllers = map[int][]string{1: {"cpu", "memory", "devices", "freezer", "pids"}, 2: {"cpu", "memory", "pids"}}

func cgroupControllers() (version int, missing []string) {
	const root = "/sys/fs/cgroup"
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return 0, nil
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		data, _ := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
		have := strings.Fields(string(data))
		for _, c := range neededControllers[2] {
			if !slices.Contains(have, c) {
				missing = append(missing, c)
			}
		}
		return 2, missing
	}
	for _, c := range neededControllers[1] {
		if _, err := os.Stat(filepath.Join(root, c)); err != nil {
			missing = append(missing, c)
		}
	}
	if len(missing) == len(neededControllers[1]) {
		return 0, nil
	}
	return 1, missing
}

func findPlugin(dirs []string, name string) string {
	for _, d := range dirs {
		if st, err := os.Stat(filepath.Join(d, name)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return d
		}
	}
	return ""
}

func canListen(ctx context.Context, addr string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return l.Close()
}

// lookAtDir looks at the directory, or at the nearest one above that exists.
func lookAtDir(path string) Dir {
	d := Dir{Path: path}
	for p := path; ; p = filepath.Dir(p) {
		st, err := os.Stat(p)
		switch {
		case errors.Is(err, os.ErrNotExist) && p != "/":
			continue
		case err != nil:
			d.Error = err.Error()
		case !st.IsDir():
			d.Error = p + " is not a directory"
		case unix.Access(p, unix.W_OK) != nil:
			d.Error = p + " is not writable"
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(p, &fs); err == nil {
			d.FreeBytes = fs.Bavail * uint64(fs.Bsize) //nolint:gosec // a block size is positive
		}
		return d
	}
}

func hasCapability(c int) bool {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && bits&(1<<c) != 0
		}
	}
	return false
}
