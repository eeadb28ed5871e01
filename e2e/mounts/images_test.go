package mounts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"

	"github.com/carob-project/carob/e2e/harness"
)

const imageSpec = `  volumes: [{name: v, image: {reference: 'busybox:1.35'}}]`

func images(t *testing.T, c *harness.Carob) {
	const script = "test -x /v/bin/busybox && echo whole; /b/busybox echo part; touch /v/x 2>&1 | grep -o Read-only; grep -c . /v/etc/passwd; sleep 1000"
	c.Apply(t, pod("shows", script, imageSpec)+`
      volumeMounts:
        - {name: v, mountPath: /v}
        - {name: v, mountPath: /b, subPath: bin}
`)
	c.Apply(t, pod("never", "true", `  volumes: [{name: v, image: {reference: 'example.test/none:1', pullPolicy: Never}}]`)+`
      volumeMounts: [{name: v, mountPath: /v}]
    - {name: beside, image: 'busybox:1.35', command: [sleep, '1000']}
`)
	c.Apply(t, pod("missing", "true", `  volumes: [{name: v, image: {reference: '127.0.0.1:1/none'}}]`)+"      volumeMounts: [{name: v, mountPath: /v}]\n")
	c.Apply(t, pod("nowhere", "true", imageSpec)+"      volumeMounts: [{name: v, mountPath: /v, subPath: bin/none}]\n")
	c.Apply(t, pod("file", "true", imageSpec)+"      volumeMounts: [{name: v, mountPath: /v, subPath: bin/busybox}]\n")

	c.WaitReady(t, "shows")
	harness.Eventually(t, 20*time.Second, func() string {
		if out := c.K(t, "logs", "shows"); !strings.HasPrefix(out, "whole\npart\nRead-only\n") || strings.Contains(out, "\n0\n") {
			return "the image shows as " + out
		}
		return ""
	})
	event(t, c, "shows", "Pulled", `Container image "busybox:1.35" already present on machine and can be accessed by the pod`)
	if got := c.Get(t, "pod", "shows", "{.spec.volumes[0].image.pullPolicy} {.status.containerStatuses[0].volumeMounts[0].name}"); got != "IfNotPresent v" {
		t.Errorf("policy and status: %s", got)
	}

	becomes(t, c, "never", "{.status.containerStatuses[?(@.name==\"main\")].state.waiting}", `"reason":"ErrImageNeverPull"`)
	becomes(t, c, "never", "{.status.containerStatuses[?(@.name==\"beside\")].state}", "running")
	event(t, c, "never", "ErrImageNeverPull", `Container image "example.test/none:1" is not present with pull policy of Never`)
	becomes(t, c, "missing", waiting, `ImagePullBackOff: Back-off pulling image "127.0.0.1:1/none": ErrImagePull: `)
	event(t, c, "missing", "Failed", `Failed to pull image "127.0.0.1:1/none": `)
	event(t, c, "missing", "Failed", "Error: ErrImagePull")
	event(t, c, "missing", "BackOff", `Back-off pulling image "127.0.0.1:1/none"`)
	becomes(t, c, "nowhere", waiting, `CreateContainerError: failed to mount image volume: ImageVolumeMountFailed: failed to ensure image subpath "bin/none" in "`)
	becomes(t, c, "file", waiting, `: only directory subpath is supported, subpath: "bin/busybox", mountpoint: "`)

	uid := c.Get(t, "pod", "shows", "{.metadata.uid}")
	if entries, err := os.ReadDir(filepath.Join(c.DataDir, "pods", uid, "images")); err != nil || len(entries) != 1 {
		t.Errorf("one image, mounted twice, is on the node as %v %v", entries, err)
	}
	dirs := filepath.Join(c.DataDir, "pods")
	c.K(t, "delete", "pod", "shows", "never", "missing", "nowhere", "file", "--timeout=60s")
	// They have no grace, so their objects go at once and the node follows.
	harness.Eventually(t, 20*time.Second, func() string {
		left, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
			return !strings.HasPrefix(m.Mountpoint, dirs) || !strings.Contains(m.Mountpoint, "/images/"), false
		})
		if err != nil {
			return err.Error()
		}
		for _, m := range left {
			return "the mount of an image is left: " + m.Mountpoint
		}
		return ""
	})
}
