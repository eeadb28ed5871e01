//go:build vm

package vm

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// contexts is what distributions' policies say of containers.
const contexts = `process = "system_u:system_r:box_t:s0"
file = "system_u:object_r:box_file_t:s0"
ro_file = "system_u:object_r:box_ro_file_t:s0"
`

// labelled is a pod that shows its label, and which files of the node it can
// read: everybody may, but for SELinux.
func labelled(name, ofPod, ofContainer string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext: {%s}
  containers:
    - name: a
      image: busybox:1.35
      command: [sh, -c, 'tr -d "\000" < /proc/self/attr/current; echo; cat /files/closed /files/pair 2>&1; true']
      securityContext: {%s}
      volumeMounts: [{name: files, mountPath: /files}]
  volumes: [{name: files, hostPath: {path: /files}}]
---
`, name, ofPod, ofContainer)
}

// What is read, or not, of the file of another type and of that with two
// categories.
const (
	readClosed = "closed\n"
	readPair   = "pair\n"
	noClosed   = "cat: can't open '/files/closed': Permission denied\n"
	noPair     = "cat: can't open '/files/pair': Permission denied\n"
)

// alone is a level with categories that a pod has got.
var alone = regexp.MustCompile(`:s0:c\d+,c\d+`)

// roomy is a pod that runs on, with a volume of each sort. What its first
// container writes the second reads; both need the label that the probe wants.
const roomy = `apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {one: word}
---
apiVersion: v1
kind: Pod
metadata: {name: roomy}
spec:
  terminationGracePeriodSeconds: 0
  shareProcessNamespace: true
  containers:
    - name: a
      image: busybox:1.35
      command: [sh, -c, 'echo f > /disk/f; echo f > /memory/f; echo f > /dev/shm/f; exec sleep 100000']
      volumeMounts: &all
        - {name: disk, mountPath: /disk}
        - {name: memory, mountPath: /memory}
        - {name: words, mountPath: /words}
        - {name: token, mountPath: /token}
        - {name: image, mountPath: /image}
        - {name: files, mountPath: /files}
    - name: b
      image: busybox:1.35
      command: [sleep, '100000']
      readinessProbe: {exec: {command: [sh, -c, 'grep -q ^system_u:system_r:box_t:s0:c /proc/self/attr/current && cat /disk/f /memory/f /dev/shm/f /words/one /token/one /image/bin/busybox > /dev/null']}, timeoutSeconds: 60}
      volumeMounts: *all
  volumes:
    - {name: disk, emptyDir: {}}
    - {name: memory, emptyDir: {medium: Memory}}
    - {name: words, configMap: {name: words}}
    - {name: token, projected: {sources: [{configMap: {name: words}}]}}
    - {name: image, image: {reference: 'busybox:1.35'}}
    - {name: files, hostPath: {path: /files}}
---
`

// TestSELinux: the machine's kernel has SELinux, and in this test a policy.
func TestSELinux(t *testing.T) {
	m := New(t, image, "security=selinux", "selinux=1")
	m.loadPolicy(t)
	m.Sh(t, "/etc/machine-state.sh > /root/state")
	m.Up(t)
	m.Sh(t, "carob image import /root/image.tar")
	m.Apply(t, labelled("early", "seLinuxOptions: {type: box_t}", ""))
	Eventually(t, func() string {
		if p := m.Pods(t)["early"]; p.Status.Phase != "Failed" || p.Status.Reason != "SELinux" {
			return fmt.Sprintf("%+v", p.Status)
		}
		return ""
	})
	m.Stop(t)
	m.Sh(t, "mkdir -p /etc/selinux/small/contexts && echo SELINUXTYPE=small > /etc/selinux/config")
	m.Write(t, "/etc/selinux/small/contexts/lxc_contexts", contexts)
	m.Up(t)
	m.labelsOfPods(t)
	m.labelsOfVolumes(t)
	m.labelsThatAreNone(t)
	m.Down(t)
}

// loadPolicy has the kernel enforce the policy, and makes files for it.
func (m *Machine) loadPolicy(t *testing.T) {
	t.Helper()
	m.Write(t, "/tmp/policy.cil", policy())
	out := m.Sh(t, `mount -t selinuxfs selinuxfs /sys/fs/selinux
		secilc -M true -c 33 -o /tmp/policy -f /dev/null /tmp/policy.cil
		dd if=/tmp/policy of=/sys/fs/selinux/load bs=1M 2>/dev/null
		echo 1 > /sys/fs/selinux/enforce
		mkdir /files && echo closed > /files/closed && echo pair > /files/pair
		chcon system_u:object_r:closed_t:s0 /files/closed
		chcon system_u:object_r:box_file_t:s0:c1,c2 /files/pair
		cat /sys/fs/selinux/enforce; echo; cat /proc/self/attr/current`)
	if strings.TrimRight(out, "\x00\n") != "1\nsystem_u:system_r:node_t:s0-s0:c0.c1023" {
		t.Fatalf("SELinux does not enforce the policy: %q", out)
	}
}

func (m *Machine) labelsOfPods(t *testing.T) {
	t.Helper()
	const pair = "level: 's0:c1,c2'"
	m.Apply(t, labelled("silent", "", "")+
		labelled("pod", "seLinuxOptions: {"+pair+"}", "allowPrivilegeEscalation: false")+
		labelled("type", "", "seLinuxOptions: {type: other_t}")+
		labelled("container", "seLinuxOptions: {type: other_t, "+pair+"}", "seLinuxOptions: {level: 's0:c1,c3'}")+
		labelled("part", "seLinuxOptions: {"+pair+"}, seLinuxChangePolicy: MountOption", "seLinuxOptions: {type: other_t}")+
		labelled("whole", "", "seLinuxOptions: {user: other_u, role: other_r, type: other_t, level: 's0:c1,c2,c7.c9'}")+
		labelled("privileged", "seLinuxOptions: {type: box_t}", "privileged: true"))
	for name, want := range map[string]string{
		"silent":     "system_u:system_r:box_t:ALONE\n" + noClosed + noPair,
		"pod":        "system_u:system_r:box_t:s0:c1,c2\n" + noClosed + readPair,
		"type":       "system_u:system_r:other_t:ALONE\n" + readClosed + noPair,
		"container":  "system_u:system_r:box_t:s0:c1,c3\n" + noClosed + noPair,
		"part":       "system_u:system_r:other_t:s0:c1,c2\n" + readClosed + readPair,
		"whole":      "other_u:other_r:other_t:s0:c1,c2,c7.c9\n" + readClosed + readPair,
		"privileged": "system_u:system_r:node_t:s0-s0:c0.c1023\n" + readClosed + readPair,
	} {
		got := m.said(t, name)
		if strings.Contains(want, "ALONE") {
			got = alone.ReplaceAllString(got, ":ALONE")
		}
		if got != want {
			t.Errorf("%s printed\n%swant\n%s", name, got, want)
		}
	}
	if one, two := alone.FindString(m.said(t, "silent")), alone.FindString(m.said(t, "type")); one == two {
		t.Errorf("two pods have the level %s", one)
	}
}

func (m *Machine) labelsOfVolumes(t *testing.T) {
	t.Helper()
	m.Apply(t, roomy)
	m.WaitReady(t, "roomy")
	process := strings.TrimRight(m.Sh(t, "carob exec roomy -c a -- cat /proc/1/attr/current /proc/self/attr/current"), "\x00\n")
	first, second, _ := strings.Cut(process, "\x00")
	level := alone.FindString(first)
	if want := "system_u:system_r:box_t" + level; level == "" || first != want || strings.TrimLeft(second, "\n") != want {
		t.Errorf("labels of the pod's processes: %q", process)
	}
	id := containerID(t, m.Pods(t)["roomy"], "a")
	own := "system_u:object_r:box_file_t" + level
	for file, want := range map[string]string{
		"/bin/busybox": own, "/dev": own, "/dev/shm/f": own, "/dev/termination-log": own,
		"/etc/hosts": own, "/etc/resolv.conf": own, "/etc/hostname": own,
		"/disk": own, "/disk/f": own, "/memory": own, "/memory/f": own, "/words/one": own, "/token/one": own,
		"/image/bin/busybox": "system_u:object_r:box_ro_file_t:s0",
		"/files/closed":      "system_u:object_r:closed_t:s0", "/files/pair": "system_u:object_r:box_file_t:s0:c1,c2",
	} {
		out := m.Sh(t, "stat -c %C /proc/$(head -n1 $(find /sys/fs/cgroup -path '*"+id+"/cgroup.procs'))/root"+file)
		if out != want+"\n" {
			t.Errorf("the label of %s is %swant %s", file, out, want)
		}
	}
	m.Sh(t, "carob delete pod/roomy")
}

// labelsThatAreNone have their pods wait, and say why.
func (m *Machine) labelsThatAreNone(t *testing.T) {
	t.Helper()
	m.Apply(t, labelled("unknown", "", "seLinuxOptions: {type: nobody_t}")+labelled("odd", "seLinuxOptions: {level: high}", ""))
	for name, want := range map[string]string{
		"unknown": `invalid SELinux label "system_u:system_r:nobody_t:`,
		"odd":     `invalid SELinux label "system_u:system_r:box_t:high": its level is "high"`,
	} {
		Eventually(t, func() string {
			p := m.Pods(t)[name]
			if len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].State.Waiting == nil {
				return fmt.Sprintf("%+v", p.Status)
			}
			if w := p.Status.ContainerStatuses[0].State.Waiting; w.Reason != "CreateContainerError" || !strings.HasPrefix(w.Message, want) {
				return fmt.Sprintf("%+v", *w)
			}
			return ""
		})
	}
}
