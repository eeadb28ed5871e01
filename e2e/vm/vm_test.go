//go:build vm

package vm

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// image is where hack/vm/image.sh puts what the machines boot.
var image string

func TestMain(m *testing.M) {
	var err error
	if image, err = makeImage("vm"); err != nil {
		fmt.Fprintln(os.Stderr, "no image of the virtual machine:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// makeImage makes what a machine boots in a directory of that name, out of what
// the environment says.
func makeImage(name string, env ...string) (string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	out := filepath.Join(root, ".cache", name)
	cmd := exec.Command(filepath.Join(root, "hack", "vm", "image.sh"), out)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return out, cmd.Run()
}

// sleeper is a pod of two containers that run for ever.
func sleeper(name string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: a, image: 'busybox:1.35', command: [sleep, '100000']}
    - {name: b, image: 'busybox:1.35', command: [sleep, '100000'], volumeMounts: [{name: v, mountPath: /v}]}
  volumes: [{name: v, emptyDir: {medium: Memory}}]
---
`, name)
}

const limited = `apiVersion: v1
kind: Pod
metadata: {name: limited}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: web
      image: busybox:1.35
      command: [sh, -c, 'mkdir /srv; echo by host port > /srv/index.html; exec httpd -f -p 80 -h /srv']
      ports: [{containerPort: 80, hostPort: 8080}]
      resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 200m, memory: 32Mi}}
    - name: idle
      image: busybox:1.35
      command: [sleep, '100000']
      resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 500m, memory: 64Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: guaranteed}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: only
      image: busybox:1.35
      command: [sleep, '100000']
      resources: {limits: {cpu: '1', memory: 16Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - name: parent
      image: busybox:1.35
      # The child asks for too much; the whole container ends with it.
      command: [sh, -c, 'tail /dev/zero; sleep 100000']
      resources: {limits: {memory: 16Mi}}
`

func TestControlGroupsOfVersion2(t *testing.T) {
	m := New(t, image)
	m.Sh(t, "/etc/machine-state.sh > /root/state")
	out := m.Sh(t, "carob check")
	// A distribution's kernel and runc are too old for users of pods.
	if !strings.Contains(out, "v2, driver cgroupfs") || !strings.Contains(out, "not possible: the ") {
		t.Errorf("carob check:\n%s", out)
	}
	m.Up(t)
	m.Sh(t, "carob image import /root/image.tar")
	began := time.Now()
	m.Apply(t, limited)
	m.WaitReady(t, "limited", "guaranteed")
	t.Logf("Ready after %v", time.Since(began).Round(100*time.Millisecond))

	pods := m.Pods(t)
	burstable := "kubepods/burstable/pod" + pods["limited"].Metadata.UID
	web, idle := containerID(t, pods["limited"], "web"), containerID(t, pods["limited"], "idle")
	guaranteed := "kubepods/pod" + pods["guaranteed"].Metadata.UID
	only := containerID(t, pods["guaranteed"], "only")
	for file, want := range map[string]string{
		// 150m are 153 shares of 1024, 100m are 102, 50m are 51, 1 is 1024.
		burstable + "/cpu.weight":               "6",
		burstable + "/cpu.max":                  "70000 100000",
		burstable + "/memory.max":               strconv.Itoa(96 << 20),
		burstable + "/" + web + "/cpu.weight":   "4",
		burstable + "/" + web + "/cpu.max":      "20000 100000",
		burstable + "/" + web + "/memory.max":   strconv.Itoa(32 << 20),
		burstable + "/" + idle + "/cpu.weight":  "2",
		burstable + "/" + idle + "/cpu.max":     "50000 100000",
		burstable + "/" + idle + "/memory.max":  strconv.Itoa(64 << 20),
		guaranteed + "/cpu.weight":              "39",
		guaranteed + "/cpu.max":                 "100000 100000",
		guaranteed + "/memory.max":              strconv.Itoa(16 << 20),
		guaranteed + "/" + only + "/cpu.weight": "39",
		guaranteed + "/" + only + "/memory.max": strconv.Itoa(16 << 20),
	} {
		if got := m.groupFile(t, file); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
	if out := m.Sh(t, "cat /sys/fs/cgroup/carob-*/"+burstable+"/"+idle+"/cgroup.procs | wc -l"); strings.TrimSpace(out) != "1" {
		t.Errorf("processes in the group of idle: %s", out)
	}

	Eventually(t, func() string {
		p := m.Pods(t)["greedy"]
		if p.Status.Phase != "Failed" || len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].State.Terminated == nil {
			return "greedy is " + p.Status.Phase
		}
		if s := p.Status.ContainerStatuses[0].State.Terminated; s.Reason != "OOMKilled" || s.ExitCode != 137 {
			t.Errorf("greedy: %+v", s)
		}
		return ""
	})

	for _, address := range []string{"127.0.0.1", "10.0.2.15"} {
		if out := m.Sh(t, "wget -qO- http://"+address+":8080/"); out != "by host port\n" {
			t.Errorf("at %s: %q", address, out)
		}
	}
	if out, err := fetch("http://" + m.Web + "/"); out != "by host port\n" {
		t.Errorf("from outside: %q %v", out, err)
	}
	m.NothingOfNobody(t)
	m.Down(t)

	out, ok := m.Try("cd /tmp && /root/cgroup.test -test.v")
	if !ok {
		t.Errorf("the tests of pkg/cgroup:\n%s", out)
	}
	t.Logf("%d tests of pkg/cgroup passed", strings.Count(out, "\n--- PASS"))
}

// groupFile reads a control file below carob's group.
func (m *Machine) groupFile(t *testing.T, file string) string {
	t.Helper()
	return strings.TrimSpace(m.Sh(t, "cat /sys/fs/cgroup/carob-*/"+file))
}

func fetch(url string) (string, error) {
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	return string(body), err
}

func containerID(t *testing.T, p Pod, name string) string {
	t.Helper()
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == name {
			return strings.TrimPrefix(c.ContainerID, "containerd://")
		}
	}
	t.Fatalf("%s has no container %s", p.Metadata.Name, name)
	return ""
}

const finite = `apiVersion: v1
kind: Pod
metadata: {name: done}
spec:
  restartPolicy: OnFailure
  containers: [{name: a, image: 'busybox:1.35', command: ['true']}]
---
apiVersion: v1
kind: Pod
metadata: {name: once}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers: [{name: a, image: 'busybox:1.35', command: [sleep, '100000']}]
---
apiVersion: v1
kind: Pod
metadata: {name: staged}
spec:
  terminationGracePeriodSeconds: 0
  initContainers: [{name: first, image: 'busybox:1.35', command: [sh, -c, 'echo x >> /v/f'], volumeMounts: [{name: v, mountPath: /v}]}]
  containers: [{name: a, image: 'busybox:1.35', command: [sh, -c, 'wc -l < /v/f; exec sleep 100000'], volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, emptyDir: {}}]
---
`

func TestReboot(t *testing.T) {
	m := Prepared(t, image)
	m.Apply(t, sleeper("one")+sleeper("two")+finite+limited)
	m.WaitReady(t, "one", "two", "once", "staged", "limited")
	Eventually(t, func() string {
		if pods := m.Pods(t); pods["done"].Status.Phase != "Succeeded" || pods["greedy"].Status.Phase != "Failed" {
			return "done and greedy have not ended"
		}
		return ""
	})
	before, bootBefore := m.Pods(t), m.BootID()
	if got := m.nodeBootID(t); got != bootBefore {
		t.Errorf("the Node's boot ID is %s, not %s", got, bootBefore)
	}

	began := time.Now()
	m.Reboot(t)
	if m.BootID() == bootBefore {
		t.Fatal("the same boot")
	}
	t.Logf("rebooted in %v", time.Since(began).Round(100*time.Millisecond))
	m.Sh(t, "/etc/machine-state.sh > /root/state")
	m.Up(t)
	m.WaitReady(t, "one", "two", "staged", "limited", "guaranteed")
	after := m.Pods(t)
	for _, name := range []string{"one", "two", "staged", "limited", "guaranteed"} {
		b, a := before[name], after[name]
		if a.Metadata.UID != b.Metadata.UID {
			t.Errorf("%s is another pod", name)
		}
		want := b.Restarts()
		for i := range want {
			want[i]++
		}
		if !slices.Equal(a.Restarts(), want) {
			t.Errorf("%s was restarted %v times, want %v", name, a.Restarts(), want)
		}
	}
	for name, phase := range map[string]string{"done": "Succeeded", "once": "Failed", "greedy": "Failed"} {
		p := after[name]
		if p.Status.Phase != phase || p.Restarts()[0] != 0 {
			t.Errorf("%s is %s, restarted %v times", name, p.Status.Phase, p.Restarts())
		}
	}
	t.Logf("once: %+v", after["once"].Status.ContainerStatuses[0].State.Terminated)
	if got := m.nodeBootID(t); got != m.BootID() {
		t.Errorf("the Node's boot ID is %s, not %s", got, m.BootID())
	}
	// Init containers run again in a new sandbox; an emptyDir outlives it.
	if out := m.Sh(t, "carob logs staged -c a"); strings.TrimSpace(out) != "2" {
		t.Errorf("the first container of staged ran %q times", out)
	}
	if out := m.Sh(t, "wget -qO- http://127.0.0.1:8080/"); out != "by host port\n" {
		t.Errorf("host port: %q", out)
	}
	m.NothingOfNobody(t)
	m.Down(t)
}

func (m *Machine) nodeBootID(t *testing.T) string {
	t.Helper()
	return m.Sh(t, "carob get node vm -o jsonpath={.status.nodeInfo.bootID}")
}

const counter = `apiVersion: v1
kind: Pod
metadata: {name: counter}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: count
      image: busybox:1.35
      command: [sh, -c, 'i=0; while true; do i=$((i+1)); echo line $i; usleep 20000; done']
---
`

// TestPowerCut cuts the power at several points of what carob does; whatever
// kubectl was told is there afterwards, and nothing else is.
func TestPowerCut(t *testing.T) {
	m := Prepared(t, image)
	m.Apply(t, counter+sleeper("old"))
	m.WaitReady(t, "counter", "old")
	cuts := []struct {
		name string
		// when becomes true where the power is to be cut: a test of the shell.
		when string
		cut  func(*Machine, testing.TB)
	}{
		{"as soon as the pods are in etcd", "true", powerCut},
		{"while their sandboxes are made", "[ $(ls /run/carob/sandboxes | wc -l) -ge 3 ]", (*Machine).Reset},
		{"while their containers start", "[ $(ls -d $tasks/*/init.pid | wc -l) -ge 4 ]", powerCut},
	}
	for i, c := range cuts {
		t.Run(c.name, func(t *testing.T) {
			a, b := fmt.Sprintf("new-%d-a", i), fmt.Sprintf("new-%d-b", i)
			m.Write(t, "/tmp/new.yaml", sleeper(a)+sleeper(b))
			logged := lastLine(t, m)
			before := map[string]string{}
			for name, p := range m.Pods(t) {
				before[name] = p.Metadata.UID
			}
			// Deletion that was accepted is carried out after the boot.
			out := m.Sh(t, `tasks=/run/carob/containerd/io.containerd.runtime.v2.task/carob
				carob delete pod old --wait=false > /dev/null
				carob create -f /tmp/new.yaml -o jsonpath='{.metadata.name} {.metadata.uid}{"\n"}' && until `+c.when+`; do :; done`)
			c.cut(m, t)
			for line := range strings.Lines(out) {
				name, uid, _ := strings.Cut(strings.TrimSpace(line), " ")
				before[name] = uid
			}
			m.Sh(t, "/etc/machine-state.sh > /root/state")
			m.Up(t)
			m.WaitReady(t, "counter", a, b)
			Eventually(t, func() string {
				if _, there := m.Pods(t)["old"]; there {
					return "the deleted pod is still there"
				}
				return ""
			})
			for name, p := range m.Pods(t) {
				if was := before[name]; was != p.Metadata.UID {
					t.Errorf("%s is another pod: %s, was %s", name, p.Metadata.UID, was)
				}
				delete(before, name)
				if name == "counter" && p.Restarts()[0] != i+1 {
					t.Errorf("counter was restarted %v times after %d cuts", p.Restarts(), i+1)
				}
			}
			if delete(before, "old"); len(before) > 0 {
				t.Errorf("lost: %v", before)
			}
			// A new attempt has begun a log of its own; of the one before what was
			// written to the disk can be read.
			if out := m.Sh(t, "carob logs counter --previous"); !wholeLines(out) {
				t.Errorf("the log from before the cut is broken; it ends:\n%s", out[max(0, len(out)-300):])
			} else {
				t.Logf("%d lines had been read at some time before the cut, %d are on the disk", logged, strings.Count(out, "\n"))
			}
			m.NothingOfNobody(t)
			m.Apply(t, sleeper("old"))
			m.WaitReady(t, "old")
		})
	}
	m.Down(t)
}

func powerCut(m *Machine, t testing.TB) {
	m.Kill()
	m.Boot(t)
}

func lastLine(t *testing.T, m *Machine) int {
	t.Helper()
	out := m.Sh(t, "carob logs counter --tail=1")
	n, _ := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(out, "line ")))
	return n
}

// wholeLines says whether a log of counter is numbered from 1 without a gap.
func wholeLines(out string) bool {
	n := 0
	for line := range strings.Lines(out) {
		n++
		if line != fmt.Sprintf("line %d\n", n) {
			return false
		}
	}
	return true
}
