package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/carob-project/carob/pkg/pod"
)

// defaultSysctls let a container that does not run as root listen on any port
// and send pings, as container runtimes have it. A kernel that does not take
// one is left as it is.
func defaultSysctls() []pod.Sysctl {
	return []pod.Sysctl{
		{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"},
		{Name: "net.ipv4.ping_group_range", Value: "0 2147483647"},
	}
}

// setSysctls sets the defaults and then what the pod asks for, in the namespaces
// of the calling thread. Those of the node are never touched.
func setSysctls(r *record, wanted []pod.Sysctl) error {
	if !r.HostNetwork {
		for _, s := range defaultSysctls() {
			_ = setSysctl(r, s)
		}
	}
	for _, s := range wanted {
		if err := setSysctl(r, s); err != nil {
			return fmt.Errorf("%w: sysctl %s: %w", pod.ErrConfig, s.Name, err)
		}
	}
	return nil
}

func setSysctl(r *record, s pod.Sysctl) error {
	name := strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, s.Name)
	// Only what a namespace of the pod holds for itself may be reached.
	own := !r.HostNetwork && strings.HasPrefix(name, "net/") || !r.HostIPC && strings.HasPrefix(name, "kernel/shm")
	if !own || strings.Contains(name, "..") {
		return fmt.Errorf("it is not of the pod's namespaces: %w", os.ErrPermission)
	}
	write := func() error { return writeSetting(filepath.Join("/proc/sys", name), s.Value) }
	if strings.HasPrefix(name, "kernel/") {
		// Of an IPC namespace that a user namespace owns.
		return asOwner(r.Users, write)
	}
	return write()
}

func writeSetting(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
