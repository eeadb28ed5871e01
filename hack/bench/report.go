package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

type footprint struct {
	rss, pss int64 // KiB
}

type report struct {
	cold, warm            time.Duration
	start, delete, podman []time.Duration
	idle, loaded          footprint
	idleCPU               float64
	idleWrites            int64 // bytes
	atOnce                time.Duration
	pods                  int
	machine               []string
}

// quantile returns the value below which the share q of the sorted values
// lies (nearest rank).
func quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	rank := int(q*float64(len(v))+0.999999) - 1
	return v[min(max(rank, 0), len(v)-1)]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond)) }

func mib(kib int64) string { return fmt.Sprintf("%.0f MiB", float64(kib)/1024) }

func (r *report) markdown() string {
	var b strings.Builder
	c, p := quantile(r.start, 0.5), quantile(r.podman, 0.5)
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench`. Times vary with the machine; the ratios, measured in turns in\none run, are what counts.\n\n")
	fmt.Fprintf(&b, "A pod of two busybox containers with a network, image present, %d rounds each in turn:\n\n", len(r.start))
	fmt.Fprintf(&b, "| | median | p99 | ratio of medians |\n| --- | --- | --- | --- |\n")
	fmt.Fprintf(&b, "| carob: create call until a watch sees both containers running | %s | %s | %.2f |\n", ms(c), ms(quantile(r.start, 0.99)), float64(c)/float64(p))
	fmt.Fprintf(&b, "| `podman kube play` of the same YAML | %s | %s | 1 |\n", ms(p), ms(quantile(r.podman, 0.99)))
	fmt.Fprintf(&b, "| carob: delete call (grace 1 s, processes that ignore SIGTERM) until the object is gone | %s | %s | |\n\n", ms(quantile(r.delete, 0.5)), ms(quantile(r.delete, 0.99)))
	fmt.Fprintf(&b, "| what | value |\n| --- | --- |\n")
	fmt.Fprintf(&b, "| `carob up` until ready, empty data directory | %s |\n", ms(r.cold))
	fmt.Fprintf(&b, "| `carob up` until ready, %d pods running | %s |\n", r.pods, ms(r.warm))
	fmt.Fprintf(&b, "| %d such pods created at once until all run | %s |\n", r.pods, ms(r.atOnce))
	fmt.Fprintf(&b, "| memory of carob at idle: RSS, Pss | %s, %s |\n", mib(r.idle.rss), mib(r.idle.pss))
	fmt.Fprintf(&b, "| memory of carob with %d pods: RSS, Pss | %s, %s |\n", r.pods, mib(r.loaded.rss), mib(r.loaded.pss))
	fmt.Fprintf(&b, "| CPU of carob at idle with %d pods | %.1f%% of a core |\n", r.pods, r.idleCPU)
	fmt.Fprintf(&b, "| written to disk by carob at idle with %d pods, in 30 s | %d KiB |\n\n", r.pods, r.idleWrites>>10)
	for _, m := range r.machine {
		fmt.Fprintf(&b, "- %s\n", m)
	}
	return b.String()
}

func (r *report) gatherMachine(ctx context.Context, bin string) {
	var u unix.Utsname
	_ = unix.Uname(&u)
	first := func(name string, args ...string) string {
		out, err := exec.CommandContext(ctx, name, args...).Output()
		if err != nil {
			return name + ": " + err.Error()
		}
		line, _, _ := strings.Cut(string(out), "\n")
		return strings.Join(strings.Fields(line), " ")
	}
	containerd := strings.Fields(first("containerd", "--version"))
	r.machine = []string{
		fmt.Sprintf("%s, %d cores, kernel %s", runtime.GOARCH, runtime.NumCPU(), unix.ByteSliceToString(u.Release[:])),
		first(bin, "version", "--client"),
		"containerd " + containerd[min(2, len(containerd)-1)] + ", " + first("runc", "--version") + ", " + first("podman", "--version"),
		time.Now().UTC().Format("2006-01-02"),
	}
	if !raisesLimits() {
		r.machine = append(r.machine, "without CAP_SYS_RESOURCE: podman's containers run through a script that leaves out the limits it may not raise, a few milliseconds each")
	}
}

func memoryOf(pid int) (footprint, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return footprint{}, err
	}
	defer func() { _ = f.Close() }()
	var m footprint
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "Rss:":
			m.rss = n
		case "Pss:":
			m.pss = n
		}
	}
	return m, nil
}

// usage is what a process has used of the machine.
type usage struct {
	cpu     time.Duration
	written int64 // bytes that went to a disk
}

func used(pid int) (usage, error) {
	cpu, err := cpuOf(pid)
	if err != nil {
		return usage{}, err
	}
	written, err := writtenBy(pid)
	return usage{cpu: cpu, written: written}, err
}

func writtenBy(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if n, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			return strconv.ParseInt(strings.TrimSpace(n), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/io: no write_bytes", pid)
}

// cpuOf returns the CPU time a process has used.
func cpuOf(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: unexpected form", pid)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	const ticksPerSecond = 100 // USER_HZ, the same on every Linux architecture Go supports
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}
