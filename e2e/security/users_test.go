package security

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// mapping starts an instance whose runc can map the IDs of mounts.
func mapping(t *testing.T) *harness.Carob {
	t.Helper()
	c := harness.New(t)
	c.WithRunc(t, harness.Runc(t))
	c.Up(t)
	c.Import(t)
	return c
}

const ownUsers = "  hostUsers: false\n"

// hostUser reads the ID that a pod's process has on the node.
func hostUser(t *testing.T, c *harness.Carob, name string) int {
	t.Helper()
	uid := c.Get(t, "pod", name, "{.metadata.uid}")
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		data, err := os.ReadFile(g)
		if err != nil || !strings.Contains(string(data), uid) {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(g), "status"))
		if err != nil {
			continue
		}
		_, ids, _ := strings.Cut(string(status), "\nUid:")
		if user, err := strconv.Atoi(strings.Fields(ids)[0]); err == nil {
			return user
		}
	}
	t.Fatalf("no process is in a cgroup of the pod %s", name)
	return 0
}

// Whoever a container runs as is somebody else on the node, in each pod another
// one, and what it mounts shows the IDs that it has.
func TestOwnUsers(t *testing.T) {
	c := mapping(t)
	const mounts = `      volumeMounts:
        - {name: disk, mountPath: /disk}
        - {name: disk, mountPath: /sub, subPath: a/b}
        - {name: mem, mountPath: /mem}
        - {name: cm, mountPath: /cm, readOnly: true}
        - {name: image, mountPath: /image}
        - {name: host, mountPath: /host}
  volumes:
    - {name: disk, emptyDir: {}}
    - {name: mem, emptyDir: {medium: Memory}}
    - {name: cm, configMap: {name: cm, defaultMode: 0440}}
    - {name: image, image: {reference: "busybox:1.35"}}
    - {name: host, hostPath: {path: %s}}
`
	c.K(t, "create", "configmap", "cm", "--from-literal=k=v")
	host := filepath.Join(c.Dir, "host")
	if err := os.Mkdir(host, 0o755); err != nil {
		t.Fatal(err)
	}
	volumes := fmt.Sprintf(mounts, host)
	const show = "id -u; stat -c %u:%g /etc/passwd /bin/sh /disk /cm/k /image/bin/sh /etc/hosts /dev/termination-log; touch /x /disk/x /sub/x /mem/x /host/x && stat -c %u /x /disk/x /sub/x /mem/x /host/x;" +
		" touch /image/x 2>/dev/null || echo no image; echo out > /dev/stdout; echo err > /dev/stderr; cat /cm/k; echo"
	out := says(t, c, "one", pod("one", "", "", quoted(show), volumes+ownUsers), "out", "err", "v", "no image")
	// The two streams have no order between them.
	if want := "0\n" + strings.Repeat("0:0\n", 7) + strings.Repeat("0\n", 5); !strings.HasPrefix(strings.Replace(out, "err\n", "", 1), want) {
		t.Errorf("IDs in the pod:\n%s", out)
	}
	says(t, c, "two", pod("two", "runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000", "",
		quoted("id -u; id -G; touch /disk/x /mem/x && stat -c %u:%g /disk/x /mem/x; stat -Lc %u:%g /cm/k; cat /cm/k; echo"), volumes+ownUsers),
		"1000", "3000 2000", "1000:2000", "0:2000", "v")
	one, two := hostUser(t, c, "one"), hostUser(t, c, "two")
	if one < 65536 || one%65536 != 0 || two < 65536 || two%65536 != 1000 || one/65536 == two/65536 {
		t.Errorf("on the node they are %d and %d", one, two)
	}
	var owner string
	for _, f := range []string{filepath.Join(host, "x"), filepath.Join(c.DataDir, "pods", c.Get(t, "pod", "two", "{.metadata.uid}"), "volumes", "disk", "x")} {
		info, err := exec.Command("stat", "-c", "%u", f).Output()
		if err != nil {
			t.Fatal(err)
		}
		owner += string(info)
	}
	if owner != "0\n1000\n" {
		t.Errorf("on the disk of the node files belong to %q", owner)
	}
	if got := c.Get(t, "node", nodeName(t, c), "{.status.runtimeHandlers[0].features.userNamespaces}"); got != "true" {
		t.Errorf("the node tells %q", got)
	}
	for name, tc := range map[string][2]string{
		"stranger": {"runAsUser: 100000", "CreateContainerConfigError: user 100000 is not among the 65536 users that a pod with `hostUsers: false` has"},
		"strange":  {"supplementalGroups: [65536]", "CreateContainerConfigError: group 65536 is not among the 65536 groups that a pod with `hostUsers: false` has"},
	} {
		c.Apply(t, pod(name, tc[0], "", "true", ownUsers))
		waits(t, c, name, tc[1])
	}
	c.Apply(t, pod("both", "", "privileged: true", "true", "      volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]\n  volumes: [{name: v, emptyDir: {}}]\n"+ownUsers))
	waits(t, c, "both", "CreateContainerConfigError: invalid container configuration: mount /v: mountPropagation Bidirectional is not possible in a pod with `hostUsers: false`")
	c.Apply(t, pod("proc", "", "", "true", "      volumeMounts: [{name: proc, mountPath: /node}]\n  volumes: [{name: proc, hostPath: {path: /proc}}]\n"+ownUsers))
	waits(t, c, "proc", "CreateContainerConfigError: mount /node: invalid container configuration: a pod with `hostUsers: false` cannot mount /proc: its file system (proc) cannot map user IDs")
}

func nodeName(t *testing.T, c *harness.Carob) string {
	t.Helper()
	return c.K(t, "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
}

// waits waits until the container of a pod does, with this reason and message.
func waits(t *testing.T, c *harness.Carob, name, want string) {
	t.Helper()
	const waiting = "{.status.containerStatuses[0].state.waiting"
	shows(t, c, name, waiting+".reason}: "+waiting+".message}", want)
}

// Root of a pod has the say over what is the pod's, and none over the node.
func TestPrivilegesOfOwnUsers(t *testing.T) {
	c := mapping(t)
	// Where something is masked, the kernel shows it to no container inside.
	const nest = "unshare -U -r -p -f -m sh -c \"mount -t proc p /proc 2>/dev/null && echo nested || echo masked\""
	says(t, c, "masked", pod("masked", "", "seccompProfile: {type: Unconfined}", nest, ownUsers), "masked")
	says(t, c, "unmasked", pod("unmasked", "", "procMount: Unmasked, seccompProfile: {type: Unconfined}",
		nest+"; (echo 3 > /proc/sys/vm/drop_caches) 2>/dev/null || echo still the node", ownUsers), "nested", "still the node")
	says(t, c, "privileged", pod("privileged", "", "privileged: true",
		"ls -d /dev/kmsg; mount -t tmpfs t /tmp && echo mounted; hostname changed && hostname; ip link set lo mtu 1400 && echo link; mknod /tmp/sda b 8 0 2>/dev/null || echo no device; (echo 0 > /proc/sys/kernel/panic) 2>/dev/null || echo the node", ownUsers),
		"/dev/kmsg", "mounted", "changed", "link", "no device", "the node")
	says(t, c, "sysctls", pod("sysctls", `sysctls: [{name: net.ipv4.tcp_keepalive_time, value: "123"}, {name: kernel.shm_rmid_forced, value: "1"}]`, "runAsUser: 1000",
		"cat /proc/sys/net/ipv4/tcp_keepalive_time /proc/sys/kernel/shm_rmid_forced", ownUsers), "123", "1")
	out, err := c.KubectlInput(pod("bad", "", "procMount: Unmasked", "true", "  hostPID: true\n"), "apply", "-f", "-")
	if err == nil || !strings.Contains(out, "spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`") {
		t.Errorf("Unmasked with the node's users: %s", out)
	}
	out, err = c.KubectlInput(pod("bad", "", "", "true", ownUsers+"  hostPID: true\n"), "apply", "-f", "-")
	if err == nil || !strings.Contains(out, "spec.HostPID: Forbidden: when `hostUsers` is false") {
		t.Errorf("the node's processes: %s", out)
	}
	// The standards ask less of such pods, as upstream.
	c.K(t, "create", "namespace", "strict")
	c.K(t, "label", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted")
	root := pod("root", "seccompProfile: {type: RuntimeDefault}", "runAsUser: 0, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}", "true", "")
	harness.Eventually(t, 10*time.Second, func() string {
		out, err := c.KubectlInput(root, "apply", "-n", "strict", "--dry-run=server", "-f", "-")
		if err == nil || !strings.Contains(out, "runAsUser=0") {
			return "got " + out
		}
		return ""
	})
	if out, err := c.KubectlInput(root+ownUsers, "apply", "-n", "strict", "--dry-run=server", "-f", "-"); err != nil {
		t.Errorf("root of a pod: %s", out)
	}
}

const wholePod = `
apiVersion: v1
kind: Pod
metadata: {name: whole}
spec:
  hostUsers: false
  shareProcessNamespace: true
  terminationGracePeriodSeconds: 1
  initContainers:
    - {name: first, image: "busybox:1.35", command: [sh, -c, "id -u > /data/first; echo done > /dev/termination-log"], volumeMounts: [{name: data, mountPath: /data}]}
    - name: side
      image: busybox:1.35
      restartPolicy: Always
      command: [httpd, -f, -p, "8080", -h, /data]
      volumeMounts: [{name: data, mountPath: /data}]
      startupProbe: {httpGet: {path: /first, port: 8080}, periodSeconds: 1}
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, "cat /data/first; echo started >> /data/starts; while [ ! -e /data/end ]; do sleep 0.1; done; rm /data/end; exit 3"]
      volumeMounts: [{name: data, mountPath: /data}]
      readinessProbe: {exec: {command: [cat, /data/first]}, periodSeconds: 1}
      lifecycle: {postStart: {exec: {command: [touch, /data/hook]}}}
  volumes: [{name: data, emptyDir: {}}]
`

// Everything that a user does with a pod works with such a one, also over the
// ends of its containers and of carob.
func TestLifeOfOwnUsers(t *testing.T) {
	c := harness.New(t)
	before := c.State(t)
	c.WithRunc(t, harness.Runc(t))
	c.Up(t)
	c.Import(t)
	c.Apply(t, wholePod)
	c.WaitReady(t, "whole")
	in := func(args ...string) string {
		return c.K(t, append([]string{"exec", "whole", "-c", "main", "--"}, args...)...)
	}
	if got := in("sh", "-c", "id -u; tty || true; echo 1 > /data/exec; stat -c %u /data/exec /data/hook; pidof httpd | wc -w"); got != "0\nnot a tty\n0\n0\n1\n" {
		t.Errorf("exec: %q", got)
	}
	if got := c.Get(t, "pod", "whole", "{.status.initContainerStatuses[0].state.terminated.message}"); got != "done\n" {
		t.Errorf("termination message %q", got)
	}
	local := filepath.Join(c.Dir, "copy")
	if err := os.WriteFile(local, []byte("copied"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.K(t, "cp", local, "whole:/data/copy", "-c", "main")
	if got := in("cat", "/data/copy"); got != "copied" {
		t.Errorf("cp: %q", got)
	}
	forwarded(t, c, "whole", "/first", "0\n")
	c.K(t, "debug", "whole", "--image=busybox:1.35", "--target=main", "-c", "dbg", "--", "sh", "-c", "id -u; ps -o args | grep httpd; exec sleep 1000")
	harness.Eventually(t, 20*time.Second, func() string {
		out, err := c.Kubectl("logs", "whole", "-c", "dbg")
		if err != nil || !strings.HasPrefix(out, "0\n") || !strings.Contains(out, "httpd -f") {
			return "got " + out
		}
		return ""
	})
	uid := c.Get(t, "pod", "whole", "{.metadata.uid}")
	first := record(t, c, uid)
	for i, end := range []func(){
		func() { c.Stop(t) },
		func() { c.Kill(t) },
	} {
		in("touch", "/data/end")
		harness.Eventually(t, 20*time.Second, func() string {
			if got := c.Get(t, "pod", "whole", "{.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}"); got != fmt.Sprintf("%d true", i+1) {
				return "got " + got
			}
			return ""
		})
		end()
		c.Up(t)
		c.WaitReady(t, "whole")
		if got := record(t, c, uid); got != first {
			t.Errorf("the IDs were %d, and are %d", first, got)
		}
	}
	if got := in("cat", "/data/starts"); got != "started\nstarted\nstarted\n" {
		t.Errorf("starts: %q", got)
	}
	c.K(t, "delete", "pod", "whole", "--timeout=60s")
	c.Stop(t)
	c.Must(t, "reset", "--yes")
	c.SameState(t, before)
}

// record is the first ID that a pod's sandbox says it has.
func record(t *testing.T, c *harness.Carob, uid string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.RunDir, "sandboxes", uid, "sandbox.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ Users struct{ First int } }
	if err := json.Unmarshal(data, &r); err != nil || r.Users.First == 0 {
		t.Fatalf("%v %s", err, data)
	}
	return r.Users.First
}

// forwarded asks a port of the pod through kubectl port-forward.
func forwarded(t *testing.T, c *harness.Carob, name, path, want string) {
	t.Helper()
	port := harness.FreePort(t)
	cmd := exec.Command("kubectl", "--kubeconfig", filepath.Join(c.DataDir, "admin.kubeconfig"), "port-forward", "pod/"+name, port+":8080")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	harness.Eventually(t, 20*time.Second, func() string {
		resp, err := http.Get("http://127.0.0.1:" + port + path)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = resp.Body.Close() }()
		if body, _ := io.ReadAll(resp.Body); string(body) != want {
			return "got " + string(body)
		}
		return ""
	})
}

// A node that cannot give a pod its own users says so, and the pod waits.
func TestOwnUsersNeedTheRuntime(t *testing.T) {
	c := harness.New(t)
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(runc, "features").Output()
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Linux struct {
			MountExtensions struct{ IDMap struct{ Enabled bool } }
		}
	}
	if err := json.Unmarshal(out, &f); err != nil {
		t.Fatal(err)
	}
	if f.Linux.MountExtensions.IDMap.Enabled {
		// This machine's runc is a new one; an old one tells less.
		runc = filepath.Join(c.Dir, "old-runc")
		text := "#!/bin/sh\n[ \"$1\" = features ] && exec echo '{\"linux\": {\"namespaces\": [\"user\"]}}'\nexec runc \"$@\"\n"
		if err := os.WriteFile(runc, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c.WithRunc(t, runc)
	c.Up(t)
	c.Import(t)
	c.Apply(t, pod("own", "", "", "true", ownUsers))
	c.Apply(t, "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: plain}\nhandler: runc\n")
	c.Apply(t, pod("classed", "", "", "true", ownUsers+"  runtimeClassName: plain\n"))
	for name, want := range map[string]string{
		"own":     "Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces",
		"classed": "Failed to create pod sandbox: can't set `spec.hostUsers: false`, RuntimeClass handler \"runc\" does not support user namespaces",
	} {
		harness.Eventually(t, 20*time.Second, func() string {
			out := c.K(t, "get", "events", "--field-selector", "involvedObject.name="+name+",reason=FailedCreatePodSandBox", "-o", "jsonpath={.items[*].message}")
			if out != want {
				return "got " + out
			}
			return ""
		})
		harness.Eventually(t, 20*time.Second, func() string {
			if got := c.Get(t, "pod", name, "{.status.phase} {.status.containerStatuses[0].state.waiting.reason}"); got != "Pending ContainerCreating" {
				return fmt.Sprintf("%s: %q", name, got)
			}
			return ""
		})
	}
	if got := c.Get(t, "node", nodeName(t, c), "{.status.runtimeHandlers[0].features.userNamespaces}"); got != "false" {
		t.Errorf("the node tells %q", got)
	}
	says(t, c, "plain", pod("plain", "", "", "echo runs", ""), "runs")
}
