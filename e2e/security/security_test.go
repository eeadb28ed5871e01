// Package security checks what security contexts make of containers, as the
// kernel reports it.
package security

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// pod is one container that prints what command says, and stays.
func pod(name, podContext, containerContext, command, rest string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {%s}
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, '%s; echo end; exec sleep 100000']
      securityContext: {%s}
%s
`, name, podContext, command, containerContext, rest)
}

// says applies the pod and waits until its log has all of want.
func says(t *testing.T, c *harness.Carob, name, yaml string, want ...string) string {
	t.Helper()
	c.Apply(t, yaml)
	var out string
	harness.Eventually(t, 30*time.Second, func() string {
		var err error
		if out, err = c.Kubectl("logs", name); err != nil || !strings.Contains(out, "end\n") {
			return out + c.Get(t, "pod", name, "{.status}")
		}
		return ""
	})
	for _, w := range want {
		if !strings.Contains("\n"+out, "\n"+w+"\n") {
			t.Errorf("%s: no line %q in\n%s", name, w, out)
		}
	}
	return out
}

const status = "grep -E 'Cap(Eff|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status"

func quoted(s string) string { return strings.ReplaceAll(s, "'", "''") }

func TestUsersAndGroups(t *testing.T) {
	c := harness.Started(t)
	const ids = "echo ids $(id -u) $(id -g) $(id -G)"
	says(t, c, "image", pod("image", "", "", ids, ""), "ids 0 0 0")
	says(t, c, "pod", pod("pod", "runAsUser: 1000, runAsGroup: 3000, supplementalGroups: [4000, 5000], fsGroup: 2000", "", ids, ""),
		"ids 1000 3000 3000 2000 4000 5000")
	says(t, c, "container", pod("container", "runAsUser: 1000, runAsNonRoot: true", "runAsUser: 1001", ids, ""), "ids 1001 0 0")
	says(t, c, "group", pod("group", "", "runAsGroup: 7", ids, ""), "ids 0 7 7")
	says(t, c, "strict", pod("strict", "supplementalGroupsPolicy: Strict, supplementalGroups: [9]", "", ids, ""), "ids 0 0 0 9")
	if got := c.Get(t, "pod", "pod", "{.status.containerStatuses[0].user.linux}"); got != `{"gid":3000,"supplementalGroups":[3000,2000,4000,5000],"uid":1000}` {
		t.Errorf("status: %s", got)
	}
	for name, tc := range map[string][2]string{
		"root":   {"runAsNonRoot: true", "container has runAsNonRoot and image will run as root (pod: \"root_default("},
		"breaks": {"runAsNonRoot: true, runAsUser: 0", "container's runAsUser breaks non-root policy (pod: \"breaks_default("},
	} {
		c.Apply(t, pod(name, tc[0], "", ids, ""))
		harness.Eventually(t, 20*time.Second, func() string {
			got := c.Get(t, "pod", name, "{.status.containerStatuses[0].state.waiting.reason}: {.status.containerStatuses[0].state.waiting.message}")
			if !strings.HasPrefix(got, "CreateContainerConfigError: "+tc[1]) {
				return "got " + got
			}
			return ""
		})
	}
}

func TestPrivileges(t *testing.T) {
	c := harness.Started(t)
	show := quoted(status)
	says(t, c, "default", pod("default", "", "", show, ""), "CapEff:\t00000000a80425fb", "NoNewPrivs:\t0", "Seccomp:\t2")
	says(t, c, "none", pod("none", "", "allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}", show, ""),
		"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1")
	says(t, c, "one", pod("one", "", "capabilities: {drop: [ALL], add: [NET_ADMIN]}", show+"; ip link set lo mtu 1400 && echo made", ""),
		"CapEff:\t0000000000001000", "made")
	says(t, c, "less", pod("less", "", "capabilities: {drop: [CHOWN, cap_kill]}", show, ""), "CapEff:\t00000000a80425da")
	says(t, c, "unconfined", pod("unconfined", "seccompProfile: {type: Unconfined}", "", show, ""), "Seccomp:\t0")
	says(t, c, "readonly", pod("readonly", "", "readOnlyRootFilesystem: true", "touch /x 2>/dev/null || echo read-only; touch /tmp/x 2>/dev/null || echo all", ""), "read-only", "all")
	out := says(t, c, "privileged", pod("privileged", "", "privileged: true", show+"; ls /dev/net/tun /dev/kmsg; mount -t tmpfs t /tmp && echo mounted; test -w /proc/sys/kernel/hostname && echo writable", ""),
		"Seccomp:\t0", "mounted", "writable", "/dev/kmsg")
	if strings.Contains(out, "CapEff:\t00000000a80425fb") {
		t.Error(out)
	}
}

func TestLocalSeccompProfile(t *testing.T) {
	c := harness.Started(t)
	dir := filepath.Join(c.DataDir, "seccomp", "profiles")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	profile := `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}`
	if err := os.WriteFile(filepath.Join(dir, "nodirs.json"), []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	says(t, c, "local", pod("local", "seccompProfile: {type: Localhost, localhostProfile: profiles/nodirs.json}", "",
		"mkdir /x 2>/dev/null || echo forbidden; touch /y && echo allowed", ""), "forbidden", "allowed")
	c.Apply(t, pod("lost", "seccompProfile: {type: Localhost, localhostProfile: no.json}", "", "true", ""))
	harness.Eventually(t, 20*time.Second, func() string {
		got := c.Get(t, "pod", "lost", "{.status.containerStatuses[0].state.waiting.reason}: {.status.containerStatuses[0].state.waiting.message}")
		if !strings.HasPrefix(got, "CreateContainerError: cannot load seccomp profile") {
			return "got " + got
		}
		return ""
	})
}

func TestVolumesBelongToTheGroup(t *testing.T) {
	c := harness.Started(t)
	c.K(t, "create", "configmap", "cm", "--from-literal=k=v")
	c.K(t, "create", "secret", "generic", "sec", "--from-literal=k=v")
	says(t, c, "group", pod("group", "runAsUser: 1000, runAsGroup: 1000, fsGroup: 2000", "",
		`touch /disk/f /mem/f /sub/f && stat -c "%n %g" /disk/f /mem/f /sub/f; stat -Lc "%n %g %a" /disk /cm/k /sec/k /down/name; cat /sec/k`,
		`      volumeMounts:
        - {name: disk, mountPath: /disk}
        - {name: disk, mountPath: /sub, subPath: a/b}
        - {name: mem, mountPath: /mem}
        - {name: cm, mountPath: /cm}
        - {name: sec, mountPath: /sec}
        - {name: down, mountPath: /down}
  volumes:
    - {name: disk, emptyDir: {}}
    - {name: mem, emptyDir: {medium: Memory}}
    - {name: cm, configMap: {name: cm}}
    - {name: sec, secret: {secretName: sec, defaultMode: 0400}}
    - {name: down, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}`),
		"/disk/f 2000", "/mem/f 2000", "/sub/f 2000", "/disk 2000 2777", "/cm/k 2000 644", "/sec/k 2000 440", "/down/name 2000 644", "vend")
}

func TestSysctls(t *testing.T) {
	c := harness.Started(t)
	says(t, c, "safe", pod("safe", `sysctls: [{name: net.ipv4.ip_local_port_range, value: "20000 30000"}, {name: kernel.shm_rmid_forced, value: "1"}]`, "runAsUser: 1000",
		"cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced; nc -l -p 80 & sleep 1; netstat -ltn", ""), "20000\t30000", "1")
	if out := c.K(t, "logs", "safe"); !strings.Contains(out, ":80 ") {
		t.Errorf("a user cannot listen on port 80:\n%s", out)
	}
	c.Apply(t, pod("unsafe", `sysctls: [{name: kernel.msgmax, value: "65536"}]`, "", "true", ""))
	ended(t, c, "unsafe", `Failed/SysctlForbidden: Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted`)
}

func TestWhatTheNodeLacksIsRefused(t *testing.T) {
	c := harness.Started(t)
	appArmor, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	_, missing := os.Stat("/sys/kernel/security/apparmor")
	if missing != nil || !strings.HasPrefix(string(appArmor), "Y") {
		for name, text := range map[string]string{
			"default": pod("default", "appArmorProfile: {type: RuntimeDefault}", "", "true", ""),
			"local":   pod("local", "", "appArmorProfile: {type: Localhost, localhostProfile: mine}", "true", ""),
		} {
			c.Apply(t, text)
			ended(t, c, name, "Failed/AppArmor: Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host")
		}
	} else {
		says(t, c, "default", pod("default", "appArmorProfile: {type: RuntimeDefault}", "", `grep -q "^carob-default-.* (enforce)$" /proc/self/attr/current && echo confined`, ""), "confined")
	}
	says(t, c, "unconfined", pod("unconfined", "appArmorProfile: {type: Unconfined}", "", "echo free", ""), "free")
	const labels = "seLinuxOptions: {user: u, role: r, type: t, level: s0}"
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err == nil {
		// The policy does not have such a label, or none for containers at all.
		c.Apply(t, pod("labels", labels, "", "true", ""))
		harness.Eventually(t, 20*time.Second, func() string {
			got := c.Get(t, "pod", "labels", "{.status.reason}{.status.containerStatuses[0].state.waiting.message}")
			if got != "SELinux" && !strings.HasPrefix(got, `invalid SELinux label "u:r:t:s0"`) {
				return "got " + got
			}
			return ""
		})
	} else {
		says(t, c, "labels", pod("labels", labels+", seLinuxChangePolicy: Recursive", labels, "echo no labels", ""), "no labels")
	}
}

// ended waits until a pod has ended with this phase, reason and message.
func ended(t *testing.T, c *harness.Carob, name, want string) {
	t.Helper()
	shows(t, c, name, "{.status.phase}/{.status.reason}: {.status.message}", want)
}

// shows waits until a template over a pod gives this.
func shows(t *testing.T, c *harness.Carob, name, template, want string) {
	t.Helper()
	harness.Eventually(t, 20*time.Second, func() string {
		if got := c.Get(t, "pod", name, template); got != want {
			return "got " + got
		}
		return ""
	})
}

func TestNamespacesOfTheNode(t *testing.T) {
	c := harness.Started(t)
	own := func(kind string) string {
		l, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	const show = "for n in net uts ipc pid; do readlink /proc/self/ns/$n; done; echo name $(cat /etc/hostname) $HOSTNAME; cat /etc/hosts"
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	hosts := "\n  hostAliases: [{ip: 192.0.2.7, hostnames: [alias]}]"
	out := says(t, c, "net", pod("net", "", "", show, "  hostNetwork: true"+hosts), own("net"), own("uts"), "name "+name+" "+name,
		"# Kubernetes-managed hosts file (host network).", "192.0.2.7\talias")
	if strings.Contains(out, own("ipc")) || strings.Contains(out, own("pid")) {
		t.Errorf("namespaces of the node leak:\n%s", out)
	}
	if got, want := c.Get(t, "pod", "net", "{.status.podIP}"), c.Get(t, "pod", "net", "{.status.hostIP}"); got != want || got == "" {
		t.Errorf("pod IP %q, host IP %q", got, want)
	}
	out = says(t, c, "both", pod("both", "", "", show, "  hostPID: true\n  hostIPC: true"), own("ipc"), own("pid"), "name both both")
	if strings.Contains(out, own("net")) {
		t.Errorf("the network is the node's:\n%s", out)
	}
	out, err = c.KubectlInput(pod("forbidden", `sysctls: [{name: net.ipv4.tcp_syncookies, value: "1"}]`, "", "true", "  hostNetwork: true"), "apply", "-f", "-")
	if err == nil || !strings.Contains(out, `spec.securityContext.sysctls[0].name: Invalid value: "net.ipv4.tcp_syncookies": may not be specified when 'hostNetwork' is true`) {
		t.Errorf("a setting of the node's network: %s", out)
	}
	before := c.K(t, "get", "pods")
	c.K(t, "delete", "pod", "net", "both", "--timeout=60s")
	if out := c.K(t, "get", "pods"); strings.Contains(out, "both") {
		t.Errorf("%s\n%s", before, out)
	}
}

func TestPodSecurityStandards(t *testing.T) {
	c := harness.Started(t)
	const label = "pod-security.kubernetes.io/"
	for ns, labels := range map[string][]string{
		"strict": {label + "enforce=restricted"}, "base": {label + "enforce=baseline", label + "warn=restricted"}, "free": nil,
	} {
		c.K(t, "create", "namespace", ns)
		if labels != nil {
			c.K(t, append([]string{"label", "namespace", ns}, labels...)...)
		}
	}
	// The labels are seen a moment later, as on any server.
	harness.Eventually(t, 10*time.Second, func() string {
		out, err := c.KubectlInput(pod("plain", "", "", "true", ""), "apply", "-n", "strict", "-f", "-")
		if err == nil || !strings.Contains(out, `pods "plain" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "main" must set securityContext.allowPrivilegeEscalation=false)`) {
			_, _ = c.Kubectl("delete", "pod", "-n", "strict", "plain", "--ignore-not-found", "--now")
			return "got " + out
		}
		return ""
	})
	careful := pod("careful", "runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}",
		"allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}", "true", "")
	if out, err := c.KubectlInput(careful, "apply", "-n", "strict", "-f", "-"); err != nil || strings.Contains(out, "Warning") {
		t.Errorf("a careful pod: %s", out)
	}
	privileged := pod("privileged", "", "privileged: true", "true", "")
	if out, err := c.KubectlInput(privileged, "apply", "-n", "base", "-f", "-"); err == nil || !strings.Contains(out, `violates PodSecurity "baseline:latest": privileged (container "main" must not set securityContext.privileged=true)`) {
		t.Errorf("a privileged pod: %s", out)
	}
	if out, err := c.KubectlInput(pod("plain", "", "", "true", ""), "apply", "-n", "base", "-f", "-"); err != nil || !strings.Contains(out, `Warning: would violate PodSecurity "restricted:latest"`) {
		t.Errorf("a plain pod is to be warned of: %s", out)
	}
	if out, err := c.KubectlInput(privileged, "apply", "-n", "free", "-f", "-"); err != nil {
		t.Errorf("without labels: %s", out)
	}
	if out, err := c.Kubectl("label", "namespace", "free", label+"enforce=strictest"); err == nil || !strings.Contains(out, "must be one of privileged, baseline, restricted") {
		t.Errorf("an unknown level: %s", out)
	}
	out := c.K(t, "label", "namespace", "free", label+"enforce=baseline")
	if !strings.Contains(out, `Warning: existing pods in namespace "free" violate the new PodSecurity enforce level "baseline:latest"`) {
		t.Errorf("existing pods: %s", out)
	}
}
