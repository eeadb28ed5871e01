//go:build vm

package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const ownUsers = `apiVersion: v1
kind: Pod
metadata: {name: own}
spec:
  hostUsers: false
  terminationGracePeriodSeconds: 0
  containers:
    - name: a
      image: busybox:1.35
      command: [sh, -c, 'touch /disk/x /mem/x; id -u; stat -c %u /disk/x /mem/x /etc/passwd; cat /proc/self/cgroup; exec sleep 100000']
      resources: {limits: {cpu: 500m, memory: 32Mi}}
      volumeMounts: [{name: disk, mountPath: /disk}, {name: mem, mountPath: /mem}]
  volumes:
    - {name: disk, emptyDir: {}}
    - {name: mem, emptyDir: {medium: Memory}}
---
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  hostUsers: false
  restartPolicy: Never
  containers:
    - name: a
      image: busybox:1.35
      command: [sh, -c, 'tail /dev/zero; sleep 100000']
      resources: {limits: {memory: 16Mi}}
`

// TestOwnUsers runs pods with user namespaces where cgroup v2 is all there is,
// with a kernel and a runc that are new enough, and cuts the power.
func TestOwnUsers(t *testing.T) {
	tools, err := filepath.Abs("../../.cache/tools/runc")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(tools, "runc")); err != nil {
		t.Fatalf("no newer runc, which make .cache/tools/runc/runc builds: %v", err)
	}
	newer, err := makeImage("vm-backports", "CAROB_VM_KERNEL=backports", "PATH="+tools+":"+os.Getenv("PATH"))
	if err != nil {
		t.Fatalf("no image with a newer kernel: %v", err)
	}
	m := Prepared(t, newer)
	if out := m.Sh(t, "carob check | grep hostUsers"); !strings.HasPrefix(out, "ok ") {
		t.Errorf("carob check: %s", out)
	}
	m.Apply(t, ownUsers)
	m.WaitReady(t, "own")
	Eventually(t, func() string {
		p := m.Pods(t)["greedy"]
		if p.Status.Phase != "Failed" {
			return "greedy is " + p.Status.Phase
		}
		if s := p.Status.ContainerStatuses[0].State.Terminated; s.Reason != "OOMKilled" {
			t.Errorf("greedy: %+v", s)
		}
		return ""
	})
	m.ownUsersHold(t)
	m.Reset(t)
	m.Sh(t, "/etc/machine-state.sh > /root/state")
	m.Up(t)
	m.WaitReady(t, "own")
	m.ownUsersHold(t)
	m.NothingOfNobody(t)
	m.Down(t)
}

// ownUsersHold: in the pod its user is root, on the node it is nobody's user,
// and its group limits it.
func (m *Machine) ownUsersHold(t *testing.T) {
	t.Helper()
	if out := m.Sh(t, "carob logs own"); out != "0\n0\n0\n0\n0::/\n" {
		t.Errorf("IDs and control group in the pod:\n%s", out)
	}
	if out := m.Sh(t, "carob exec own -- sh -c 'touch /disk/y && stat -c %u /disk/y'"); out != "0\n" {
		t.Errorf("a command in the pod makes files of user %s", out)
	}
	p := m.Pods(t)["own"]
	group := "kubepods/burstable/pod"
	if p.Status.QOSClass == "Guaranteed" {
		group = "kubepods/pod"
	}
	group += p.Metadata.UID + "/" + containerID(t, p, "a")
	for file, want := range map[string]string{"memory.max": "33554432", "cpu.max": "50000 100000"} {
		if got := m.groupFile(t, group+"/"+file); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
	out := m.Sh(t, "for p in $(cat /sys/fs/cgroup/carob-*/"+group+"/cgroup.procs); do stat -c %u /proc/$p; done; stat -c %u /var/lib/carob/pods/"+p.Metadata.UID+"/volumes/disk/x")
	process, file, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if process == "0" || file != "0" {
		t.Errorf("on the node its process is user %s's and its file user %s's", process, file)
	}
}
