package mounts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/e2e/harness"
)

// tmpfs mounts a file system at a new directory below dir, until the test ends.
func tmpfs(t *testing.T, dir, name string, propagation uintptr) string {
	t.Helper()
	dir = filepath.Join(dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := unix.Mount("", dir, "", propagation, ""); err != nil {
		t.Fatal(err)
	}
	return dir
}

func propagation(t *testing.T, c *harness.Carob) {
	shared := tmpfs(t, t.TempDir(), "shared", unix.MS_SHARED)
	private := tmpfs(t, t.TempDir(), "private", unix.MS_PRIVATE)
	// What a container mounts must go with it.
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(shared, "in"), unix.MNT_DETACH) })
	const spec = `  volumes: [{name: v, hostPath: {path: @}}, {name: e, emptyDir: {}}]`
	script := func(name, script, mount, dir string) {
		text := pod(name, script, strings.ReplaceAll(spec, "@", dir))
		c.Apply(t, text+`      securityContext: {privileged: true}
      volumeMounts: [`+mount+`]
`)
	}
	script("gives", "mkdir /v/in /e/in; mount -t tmpfs t /v/in && mount -t tmpfs t /e/in && echo inside | tee /v/in/f > /e/in/f && sleep 1000",
		"{name: v, mountPath: /v, mountPropagation: Bidirectional}, {name: e, mountPath: /e, mountPropagation: Bidirectional}", shared)
	script("takes", "until cat /v/later/f 2>/dev/null; do sleep 0.1; done; umount /v/later; sleep 1000",
		"{name: v, mountPath: /v, mountPropagation: HostToContainer}", shared)
	script("keeps", "sleep 1000", "{name: v, mountPath: /v, mountPropagation: None}", shared)
	script("cannot", "true", "{name: v, mountPath: /v, mountPropagation: Bidirectional}", private)
	becomes(t, c, "cannot", waiting, "CreateContainerError: mount /v: path \""+private+"\" is mounted on \""+private+"\" but it is not a shared mount")
	for _, name := range []string{"gives", "takes", "keeps"} {
		c.WaitReady(t, name)
	}
	later := tmpfs(t, shared, "later", unix.MS_SHARED)
	if err := os.WriteFile(filepath.Join(later, "f"), []byte("later\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	scratch := filepath.Join(c.DataDir, "pods", c.Get(t, "pod", "gives", "{.metadata.uid}"), "volumes", "e")
	harness.Eventually(t, time.Minute, func() string {
		if out := c.K(t, "logs", "takes"); out != "later\n" {
			return "what the node mounted shows in the container as " + out
		}
		for _, volume := range []string{shared, scratch} {
			data, _ := os.ReadFile(filepath.Join(volume, "in", "f"))
			if string(data) != "inside\n" {
				return "what the container mounted shows in " + volume + " as " + string(data)
			}
		}
		return ""
	})
	if out, err := c.Kubectl("exec", "keeps", "--", "cat", "/v/later/f"); err == nil {
		t.Errorf("a mount that does not propagate has it: %s", out)
	}
	if _, err := os.Stat(filepath.Join(later, "f")); err != nil {
		t.Errorf("what a container unmounted is gone from the node: %v", err)
	}
	c.K(t, "delete", "pod", "gives", "takes", "keeps", "cannot", "--timeout=60s")
}

func readOnly(t *testing.T, c *harness.Carob) {
	dir := t.TempDir()
	tmpfs(t, dir, "below", unix.MS_PRIVATE)
	const script = "for d in a b c; do touch /$d/x 2>/dev/null && echo $d; touch /$d/below/x 2>/dev/null && echo $d below; done; true"
	c.Apply(t, pod("whole", script, "  volumes: [{name: v, hostPath: {path: "+dir+"}}]")+`
      volumeMounts:
        - {name: v, mountPath: /a, readOnly: true}
        - {name: v, mountPath: /b, readOnly: true, recursiveReadOnly: IfPossible}
        - {name: v, mountPath: /c, readOnly: true, recursiveReadOnly: Enabled}
`)
	becomes(t, c, "whole", phase, "Succeeded")
	if out := c.K(t, "logs", "whole"); out != "a below\n" {
		t.Errorf("writable: %q", out)
	}
	if got := c.Get(t, "pod", "whole", "{.status.containerStatuses[0].volumeMounts[*].recursiveReadOnly}"); got != "Disabled Enabled Enabled Disabled" {
		t.Errorf("status: %s", got)
	}
	if got := c.K(t, "get", "nodes", "-o", "jsonpath={.items[0].status.runtimeHandlers[*].features.recursiveReadOnlyMounts}"); !strings.HasPrefix(got, "true") {
		t.Errorf("the node's runtimes: %s", got)
	}
}
