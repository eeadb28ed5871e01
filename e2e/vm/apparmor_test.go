//go:build vm

package vm

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// noWrites allows everything but to write below one directory.
const noWrites = `profile no-writes flags=(attach_disconnected,mediate_deleted) {
  file,
  capability,
  mount,
  umount,
  network,
  signal,
  ptrace,
  deny /closed/** w,
}
`

// shown is what a pod's container prints of its profile and what it may do:
// mounting is what only the default profile denies, as the pod has the
// capability and no seccomp filter; writing below /closed what only noWrites
// denies.
const shown = `mkdir /closed /open
echo profile $(cat /proc/self/attr/current)
touch /open/f && echo open
touch /closed/f 2>&1 && echo closed
mount -t tmpfs t /open 2>&1 && echo mounted
true`

// confined is a pod that shows its profile, with these security contexts.
func confined(name, ofPod, ofContainer string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: Never
  securityContext: {%s}
  containers:
    - name: a
      image: busybox:1.35
      command: [sh, -c, %q]
      securityContext: {%s}
---
`, name, ofPod, shown, ofContainer)
}

const (
	able = "capabilities: {add: [SYS_ADMIN]}, seccompProfile: {type: Unconfined}"

	localProfile   = "appArmorProfile: {type: Localhost, localhostProfile: no-writes}"
	defaultProfile = "appArmorProfile: {type: RuntimeDefault}"
	noProfile      = "appArmorProfile: {type: Unconfined}"

	// What is printed in each case.
	underDefault = "profile carob-default-ID (enforce)\nopen\nclosed\nmount: mounting t on /open failed: Permission denied\n"
	underLocal   = "profile no-writes (enforce)\nopen\ntouch: /closed/f: Permission denied\nmounted\n"
	underNone    = "profile unconfined\nopen\nclosed\nmounted\n"
)

// ownDefault is the name of an instance's default profile.
var ownDefault = regexp.MustCompile(`carob-default-[0-9a-f]+`)

// inDefault is a pod under the default profile that runs on; its probe and its
// hook are under it too, or it does not become Ready.
const inDefault = `apiVersion: v1
kind: Pod
metadata: {name: runs}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: a
      image: busybox:1.35
      command: [sleep, '100000']
      lifecycle: {postStart: {exec: {command: [grep, -q, '^carob-default-[0-9a-f]* (enforce)$', /proc/self/attr/current]}}}
      readinessProbe: {exec: {command: [grep, -q, '^carob-default-[0-9a-f]* (enforce)$', /proc/self/attr/current]}, timeoutSeconds: 30}
---
`

// TestAppArmor: the machine's kernel has AppArmor, and in this test what tells
// and loads its profiles is there.
func TestAppArmor(t *testing.T) {
	m := New(t, image)
	m.Sh(t, "mount -t securityfs securityfs /sys/kernel/security")
	if out := m.Sh(t, "cat /sys/module/apparmor/parameters/enabled /sys/kernel/security/apparmor/profiles"); out != "Y\n" {
		t.Fatalf("AppArmor is not on, or has profiles: %s", out)
	}
	m.Sh(t, "/etc/machine-state.sh > /root/state")
	m.Up(t)
	m.Sh(t, "carob image import /root/image.tar")
	m.Apply(t, confined("lost", "", able+", "+localProfile))
	m.noSuchProfile(t, "lost")

	m.Write(t, "/tmp/no-writes", noWrites)
	m.Sh(t, "apparmor_parser -Kr /tmp/no-writes")
	m.Apply(t, inDefault+
		confined("silent", "", able)+
		confined("default", "", able+", "+defaultProfile)+
		confined("local", localProfile, able)+
		confined("container", localProfile, able+", "+defaultProfile)+
		confined("free", "", able+", "+noProfile)+
		confined("privileged", "", "privileged: true")+
		confined("privileged-default", defaultProfile, "privileged: true")+
		confined("privileged-local", localProfile, "privileged: true"))
	for name, want := range map[string]string{
		"lost":   underLocal, // which has the profile now
		"silent": underDefault, "default": underDefault, "container": underDefault,
		"local": underLocal, "privileged-local": underLocal,
		"free": underNone, "privileged": underNone, "privileged-default": underNone,
	} {
		if got := ownDefault.ReplaceAllString(m.said(t, name), "carob-default-ID"); got != want {
			t.Errorf("%s printed\n%swant\n%s", name, got, want)
		}
	}
	m.WaitReady(t, "runs")
	if out := m.Sh(t, "carob exec runs -- cat /proc/self/attr/current"); !ownDefault.MatchString(out) || !strings.HasSuffix(out, " (enforce)\n") {
		t.Errorf("a command in the pod runs under %s", out)
	}
	// Signals pass from a shim, which no profile confines, to what one does.
	m.Sh(t, "carob delete pod/runs; apparmor_parser -R /tmp/no-writes")
	m.Down(t)
}

// noSuchProfile waits until the pod waits for its profile.
func (m *Machine) noSuchProfile(t *testing.T, name string) {
	t.Helper()
	Eventually(t, func() string {
		p := m.Pods(t)[name]
		if len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].State.Waiting == nil {
			return fmt.Sprintf("%+v", p.Status)
		}
		w := p.Status.ContainerStatuses[0].State.Waiting
		if w.Reason != "CreateContainerError" || !strings.HasSuffix(w.Message, "apparmor profile not found no-writes") {
			return fmt.Sprintf("%+v", *w)
		}
		return ""
	})
}

// said is what a pod has printed when it has ended well.
func (m *Machine) said(t *testing.T, name string) string {
	t.Helper()
	Eventually(t, func() string {
		p := m.Pods(t)[name]
		if p.Status.Phase == "Failed" {
			t.Fatalf("%s has failed: %s", name, m.Sh(t, "carob describe pod/"+name))
		}
		if p.Status.Phase != "Succeeded" {
			return fmt.Sprintf("%s: %+v", name, p.Status)
		}
		return ""
	})
	return m.Sh(t, "carob logs "+name)
}
