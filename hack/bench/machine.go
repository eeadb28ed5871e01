package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine says where and with what was measured.
func machine(ctx context.Context, bin string) []string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	var info unix.Sysinfo_t
	_ = unix.Sysinfo(&info)
	containerd := strings.Fields(firstLine(ctx, "containerd", "--version"))
	all := []string{
		fmt.Sprintf("%s, %d cores, %d GiB, kernel %s", runtime.GOARCH, runtime.NumCPU(), info.Totalram*uint64(info.Unit)>>30, unix.ByteSliceToString(u.Release[:])),
		firstLine(ctx, bin, "version", "--client"),
		"containerd " + containerd[min(2, len(containerd)-1)] + ", " + firstLine(ctx, "runc", "--version"),
		firstLine(ctx, "podman", "--version") + ", dockerd: " + firstLine(ctx, "dockerd", "--version") + ", " + composeVersion(ctx),
		time.Now().UTC().Format("2006-01-02"),
	}
	if !raisesLimits() {
		all = append(all, "without CAP_SYS_RESOURCE: podman's containers run through a script that leaves out the limits it may not raise, a few milliseconds each")
	}
	return all
}

func composeVersion(ctx context.Context) string {
	if v := firstLine(ctx, "docker", "compose", "version"); strings.Contains(v, "ompose version") {
		return v
	}
	return firstLine(ctx, "docker-compose", "--version")
}

func firstLine(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return name + ": " + err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.Join(strings.Fields(line), " ")
}
