// Package pods checks what the containers of a pod share, and what they do not.
package pods

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

const two = `
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 0
  hostname: %s
  containers:
    - {name: a, image: 'busybox:1.35', command: [sh, -c, 'echo from-%s > /srv && exec nc -ll -p 7000 -e cat /srv']}
    - {name: b, image: 'busybox:1.35', command: [sleep, '100000']}
`

// pidOf finds the process of a container by the pod's UID and the container's
// name in its cgroup path, as an administrator would.
func pidsOf(t *testing.T, uid, container string) []int {
	t.Helper()
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		cg, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err == nil && strings.Contains(string(cg), "pod"+uid) && strings.Contains(string(cg), uid+"-"+container+"-") {
			pids = append(pids, pid)
		}
	}
	return pids
}

func onlyPID(t *testing.T, uid, container string) int {
	t.Helper()
	var pid int
	harness.Eventually(t, 10*time.Second, func() string {
		pids := pidsOf(t, uid, container)
		if len(pids) == 0 {
			return "no process of container " + container
		}
		pid = pids[0]
		return ""
	})
	return pid
}

func namespace(t *testing.T, pid int, kind string) string {
	t.Helper()
	l, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// in runs a command in the namespaces of a process, as a container would.
func in(t *testing.T, pid int, kinds string, args ...string) (string, error) {
	t.Helper()
	flags := []string{"-t", strconv.Itoa(pid)}
	for _, k := range kinds {
		flags = append(flags, "-"+string(k))
	}
	out, err := exec.Command("nsenter", append(flags, args...)...).CombinedOutput()
	return string(out), err
}

func TestContainersOfAPodShareTheNetwork(t *testing.T) {
	c := harness.Started(t)
	c.Apply(t, fmt.Sprintf(two, "one", "first", "one"))
	c.Apply(t, fmt.Sprintf(two, "two", "second", "two"))
	c.WaitReady(t, "one")
	c.WaitReady(t, "two")
	uid := c.Get(t, "pod", "one", "{.metadata.uid}")
	a, b := onlyPID(t, uid, "a"), onlyPID(t, uid, "b")
	other := onlyPID(t, c.Get(t, "pod", "two", "{.metadata.uid}"), "b")

	t.Run("namespaces", func(t *testing.T) {
		for _, kind := range []string{"net", "ipc", "uts"} {
			if na, nb := namespace(t, a, kind), namespace(t, b, kind); na != nb {
				t.Errorf("%s differs within the pod: %s, %s", kind, na, nb)
			}
			if no, nh := namespace(t, other, kind), namespace(t, os.Getpid(), kind); namespace(t, a, kind) == no || namespace(t, a, kind) == nh {
				t.Errorf("%s is shared with another pod or the host", kind)
			}
		}
		for _, kind := range []string{"mnt", "pid"} {
			if na, nb := namespace(t, a, kind), namespace(t, b, kind); na == nb {
				t.Errorf("%s is shared: %s", kind, na)
			}
		}
	})
	t.Run("localhost", func(t *testing.T) {
		harness.Eventually(t, 10*time.Second, func() string {
			if out, err := in(t, b, "nm", "/bin/nc", "127.0.0.1", "7000"); err != nil || out != "from-one\n" {
				return fmt.Sprintf("%q %v", out, err)
			}
			return ""
		})
	})
	t.Run("by IP", func(t *testing.T) {
		ip := c.Get(t, "pod", "one", "{.status.podIP}")
		harness.Eventually(t, 10*time.Second, func() string {
			if out, err := in(t, other, "nm", "/bin/nc", ip, "7000"); err != nil || out != "from-one\n" {
				return fmt.Sprintf("%q %v", out, err)
			}
			return ""
		})
	})
	t.Run("files", func(t *testing.T) {
		ip := c.Get(t, "pod", "one", "{.status.podIP}")
		hosts, err := in(t, a, "m", "/bin/cat", "/etc/hosts")
		if err != nil || !strings.HasPrefix(hosts, "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n") || !strings.Contains(hosts, ip+"\tfirst\n") {
			t.Errorf("/etc/hosts: %v\n%s", err, hosts)
		}
		if out, err := in(t, a, "u", "hostname"); err != nil || out != "first\n" {
			t.Errorf("hostname: %q %v", out, err)
		}
		if out, err := in(t, a, "m", "/bin/cat", "/etc/hostname"); err != nil || out != "first\n" {
			t.Errorf("/etc/hostname: %q %v", out, err)
		}
		if out, err := in(t, a, "m", "/bin/cat", "/etc/resolv.conf"); err != nil || !strings.Contains(out, "nameserver") {
			t.Errorf("/etc/resolv.conf: %q %v", out, err)
		}
	})
	t.Run("processes", func(t *testing.T) {
		shims, err := exec.Command("pgrep", "-cf", "containerd-shim-runc-v2.* -id "+uid).Output()
		if err != nil || strings.TrimSpace(string(shims)) != "1" {
			t.Errorf("shims of the pod: %s %v", shims, err)
		}
	})
}

func TestDifferentArchitectureAndMissingImage(t *testing.T) {
	c := harness.Started(t)
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: missing}
spec:
  containers:
    - {name: never, image: 'localhost/nowhere:1', imagePullPolicy: Never}
    - {name: refused, image: '127.0.0.1:1/nowhere:1'}
    - {name: invalid, image: 'NOT a name'}
`)
	want := map[string][]string{
		"never":   {"ErrImageNeverPull"},
		"refused": {"ErrImagePull", "ImagePullBackOff"},
		"invalid": {"InvalidImageName"},
	}
	for name, reasons := range want {
		harness.Eventually(t, 20*time.Second, func() string {
			got := c.Get(t, "pod", "missing", `{.status.containerStatuses[?(@.name=="`+name+`")].state.waiting.reason}`)
			for _, r := range reasons {
				if got == r {
					return ""
				}
			}
			return name + ": " + got
		})
	}
	if events := c.K(t, "get", "events", "--field-selector", "involvedObject.name=missing"); !strings.Contains(events, "Failed") {
		t.Errorf("no Failed event:\n%s", events)
	}
}
