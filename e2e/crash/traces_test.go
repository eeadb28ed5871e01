package crash

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/carob-project/carob/e2e/harness"
)

// socket is that of the containerd in use: carob's own, or the system's.
func socket(c *harness.Carob) string {
	if own := filepath.Join(c.RunDir, "containerd", "containerd.sock"); exists(own) {
		return own
	}
	return "/run/containerd/containerd.sock"
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// ctr lists a kind of containerd's objects, one a line.
func ctr(t *testing.T, c *harness.Carob, args ...string) []string {
	t.Helper()
	out, err := exec.Command("ctr", append([]string{"-a", socket(c), "-n", "carob"}, args...)...).Output()
	if err != nil {
		t.Fatalf("ctr %v: %v", args, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(lines)
	return lines
}

// traces lists what machine-state.sh does not see: what carob's own containerd
// holds, and what is below the instance's directories.
func traces(t *testing.T, c *harness.Carob) []string {
	t.Helper()
	var all []string
	for _, kind := range []string{"containers", "tasks", "leases"} {
		for _, line := range ctr(t, c, kind, "list", "--quiet") {
			all = append(all, kind+" "+line)
		}
	}
	for _, line := range ctr(t, c, "snapshots", "list") {
		if f := strings.Fields(line); len(f) > 0 {
			all = append(all, "snapshot "+f[0])
		}
	}
	for _, dir := range []string{c.DataDir + "/pods", c.RunDir + "/sandboxes", c.RunDir + "/cni/ipam", c.RunDir + "/cni/cache", c.RunDir + "/containerd/io.containerd.runtime.v2.task/carob"} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			// The last address given out and the lock are no reservations.
			if err == nil && path != dir && d.Name() != "lock" && !strings.HasPrefix(d.Name(), "last_reserved_ip") {
				all = append(all, path)
			}
			return nil
		})
	}
	slices.Sort(all)
	return all
}

// difference names the lines that only one of two lists has.
func difference(a, b []string) string {
	var out []string
	for _, l := range a {
		if !slices.Contains(b, l) {
			out = append(out, "-"+l)
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			out = append(out, "+"+l)
		}
	}
	return strings.Join(out, "\n")
}

// live returns the attempts of a container that have a process, as the kernel
// knows them: the last part of their cgroup's path.
func live(t *testing.T, uid, container string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, f := range files {
		data, _ := os.ReadFile(f) // the process may have ended
		for line := range strings.Lines(string(data)) {
			dir, id := filepath.Split(strings.TrimSpace(line))
			if strings.Contains(dir, "pod"+uid) && strings.HasPrefix(id, uid+"-"+container+"-") && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// onlyOf fails the test where something belongs to a pod that is not among
// those, or the same thing of a pod is there twice.
func onlyOf(t *testing.T, c *harness.Carob, uids map[string]bool) {
	t.Helper()
	for _, dir := range []string{c.DataDir + "/pods", c.RunDir + "/sandboxes"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			if !uids[e.Name()] {
				t.Errorf("%s/%s belongs to no pod", dir, e.Name())
			}
		}
		if len(entries) != len(uids) {
			t.Errorf("%s has %d entries for %d pods", dir, len(entries), len(uids))
		}
	}
	for _, id := range ctr(t, c, "containers", "list", "--quiet") {
		if len(id) < 36 || !uids[id[:36]] {
			t.Errorf("container %s belongs to no pod", id)
		}
	}
	reserved := 0
	_ = filepath.WalkDir(c.RunDir+"/cni/ipam", func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "lock" && !strings.HasPrefix(d.Name(), "last_reserved_ip") {
			reserved++
		}
		return nil
	})
	if reserved != len(uids) {
		t.Errorf("%d addresses are reserved for %d pods", reserved, len(uids))
	}
}

// killContainerd ends the instance's own containerd, if it has one.
func killContainerd(t *testing.T, c *harness.Carob) {
	t.Helper()
	out, err := exec.Command("pgrep", "-f", "^[^ ]*containerd .*"+filepath.Join(c.RunDir, "containerd")).Output()
	if err != nil {
		return // it is being started again, or is the system's
	}
	for _, f := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(f); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
