package vm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// readyWithin bounds the wait for something in the machine.
const readyWithin = 4 * time.Minute

// Up starts carob in the machine as a service manager would, with these flags
// beside its usual ones, and returns when it is ready.
func (m *Machine) Up(t testing.TB, flags ...string) {
	t.Helper()
	began := time.Now()
	m.Sh(t, `echo "--- start at $(date)" >> /var/log/carob.log
		from=$(wc -l < /var/log/carob.log)
		setsid carob up --eviction-hard memory.available=10Mi,nodefs.available=1% `+strings.Join(flags, " ")+` >> /var/log/carob.log 2>&1 < /dev/null &
		pid=$!
		until tail -n +$from /var/log/carob.log | grep -q '^carob is ready'; do
			kill -0 $pid 2>/dev/null || { tail -n +$from /var/log/carob.log; exit 1; }
			usleep 100000
		done`)
	t.Logf("carob was up after %v", time.Since(began).Round(100*time.Millisecond))
}

// Stop ends carob as a service manager would; its pods run on.
func (m *Machine) Stop(t testing.TB) {
	t.Helper()
	m.Sh(t, `pid=$(cat /run/carob/carob.pid); kill -TERM $pid; while kill -0 $pid 2>/dev/null; do usleep 100000; done`)
}

// Prepared boots a machine, notes its state, starts carob and imports the test
// image.
func Prepared(t testing.TB, image string) *Machine {
	t.Helper()
	m := New(t, image)
	m.Sh(t, "/etc/machine-state.sh > /root/state")
	m.Up(t)
	m.Sh(t, "carob image import /root/image.tar")
	return m
}

// Down ends carob and its pods and checks that the machine is as it was when
// Prepared began, or as it was in a file of a later boot.
func (m *Machine) Down(t testing.TB) {
	t.Helper()
	m.Sh(t, "carob down")
	if out, ok := m.Try("/etc/machine-state.sh diff /root/state"); !ok {
		t.Errorf("the machine is not as it was:\n%s", out)
	}
}

// Apply applies YAML.
func (m *Machine) Apply(t testing.TB, yaml string) {
	t.Helper()
	m.Write(t, "/tmp/apply.yaml", yaml)
	m.Sh(t, "carob apply -f /tmp/apply.yaml")
}

// WaitReady waits until the pods are Ready.
func (m *Machine) WaitReady(t testing.TB, pods ...string) {
	t.Helper()
	out, ok := m.Try(fmt.Sprintf("carob wait --for=condition=Ready --timeout=%ds pod/%s", int(readyWithin.Seconds()), strings.Join(pods, " pod/")))
	if !ok {
		more, _ := m.Try("carob get pods -o wide; carob describe pods; carob get events")
		t.Fatalf("not ready: %s\n%s", out, more)
	}
}

// collected bounds the wait for what carob's collection removes every 5 minutes.
const collected = 6 * time.Minute

// Eventually waits until f returns an empty string.
func Eventually(t testing.TB, f func() string) {
	t.Helper()
	within(t, readyWithin, f)
}

func within(t testing.TB, limit time.Duration, f func() string) {
	t.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var last string
	for end := time.Now().Add(limit); time.Now().Before(end); <-tick.C {
		if last = f(); last == "" {
			return
		}
	}
	t.Fatalf("not within %v: %s", limit, last)
}

// Pod is what the tests look at.
type Pod struct {
	Metadata struct {
		Name, UID         string
		DeletionTimestamp string
	}
	Spec   struct{ RestartPolicy string }
	Status struct {
		Phase, PodIP, Reason  string
		QOSClass              string
		Conditions            []struct{ Type, Status string }
		InitContainerStatuses []Container
		ContainerStatuses     []Container
	}
}

// Container is one container's status.
type Container struct {
	Name             string
	RestartCount     int
	Ready            bool
	ContainerID      string
	State, LastState struct {
		Running    *struct{ StartedAt string }
		Waiting    *struct{ Reason, Message string }
		Terminated *struct {
			Reason, Message string
			ExitCode        int
		}
	}
}

// Restarts are the restart counts of the pod's containers.
func (p Pod) Restarts() (counts []int) {
	for _, c := range p.Status.ContainerStatuses {
		counts = append(counts, c.RestartCount)
	}
	return counts
}

// Pods are the pods of the default namespace by name.
func (m *Machine) Pods(t testing.TB) map[string]Pod {
	t.Helper()
	var list struct{ Items []Pod }
	out := m.Sh(t, "carob get pods -o json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	pods := map[string]Pod{}
	for _, p := range list.Items {
		pods[p.Metadata.Name] = p
	}
	return pods
}

// leftovers lists, a line each, what exists for pods and containers: a word
// and the pod's UID or IP.
const leftovers = `
	cd /var/lib/carob/pods && ls | sed 's/^/data /'
	cd /run/carob/sandboxes && ls | sed 's/^/sandbox /'
	cd /run/carob/cni/attachments && ls | sed 's/^/attachment /; s/.json$//'
	cd /run/carob/cni/ipam/carob-* && ls | grep '^[0-9]' | sed 's/^/ip /'
	cd /sys/fs/cgroup && find . -type d -name 'pod*' | sed 's#.*/pod#cgroup #'
	find /sys/fs/cgroup -mindepth 2 -type d -path '*/pod*/*' | sed 's#.*/#cgroup-container #'
	awk '{print $5}' /proc/self/mountinfo | grep -oE 'sandboxes/[^/]*/net|pods/[^/]*/volumes/.*' | sed 's/^/mount /'
	s=/run/carob/containerd/containerd.sock
	ctr -a $s -n carob containers ls -q | sed 's/^/container /'
	ctr -a $s -n carob snapshots ls | awk '$NF=="Active"{print "snapshot", $1}'
	ctr -a $s -n carob leases ls | awk 'NR>1{print "lease", $1}'
	find /var/lib/carob/containerd/*overlayfs/snapshots -mindepth 1 -maxdepth 1 | sed 's/.*/layer/'
	ctr -a $s -n carob tasks ls | awk '$3=="RUNNING"{print "task", $1}'
	ps -eo args | awk '/^[^ ]*containerd-shim/{print "shim"}'
	ip -o link | awk '/master carob-/{print "veth"}'
	true`

// things counts the lines of leftovers by their first word, and has the rest
// of the lines.
func things(out string) (count map[string]int, names map[string][]string) {
	count, names = map[string]int{}, map[string][]string{}
	for line := range strings.Lines(out) {
		kind, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		count[kind]++
		names[kind] = append(names[kind], name)
	}
	return count, names
}

// NothingOfNobody waits until everything that exists belongs to a pod of the
// API, and each running pod has one of everything that it needs.
func (m *Machine) NothingOfNobody(t testing.TB) {
	t.Helper()
	within(t, collected, func() string {
		pods := m.Pods(t)
		out := m.Sh(t, leftovers)
		if problems := strays(pods, out); len(problems) > 0 {
			return strings.Join(problems, "\n") + "\n--- all:\n" + out
		}
		return ""
	})
}

// strays compares what exists with what the pods account for.
func strays(pods map[string]Pod, out string) (problems []string) {
	count, names := things(out)
	say := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	var uids, ips []string
	running, live := 0, 0
	for _, p := range pods {
		uids = append(uids, p.Metadata.UID)
		if p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" {
			continue
		}
		running++
		ips = append(ips, p.Status.PodIP)
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Running != nil {
				live++
			}
		}
	}
	for _, kind := range []string{"data", "sandbox", "attachment", "cgroup", "cgroup-container", "mount", "container", "snapshot"} {
		for _, n := range names[kind] {
			if !slices.ContainsFunc(uids, func(uid string) bool { return strings.Contains(n, uid) }) {
				say("%s %s is nobody's", kind, n)
			}
		}
	}
	for _, ip := range names["ip"] {
		if !slices.Contains(ips, ip) {
			say("the reservation of %s is nobody's", ip)
		}
	}
	for kind, want := range map[string]int{
		"sandbox": running, "attachment": running, "ip": running, "cgroup": running, "veth": running, "shim": running,
		"task": live, "cgroup-container": live, "snapshot": count["container"], "lease": 0,
		// One more: the image's own layer.
		"layer": count["snapshot"] + 1,
	} {
		if count[kind] != want {
			say("%d times %s, want %d", count[kind], kind, want)
		}
	}
	return problems
}
