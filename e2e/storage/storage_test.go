// Package storage shows claims and volumes: who gets which, what a pod finds in
// them, what becomes of them, and that nothing of this is lost or doubled when
// carob is killed.
package storage

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

func TestStorage(t *testing.T) {
	c := harness.Started(t)
	for name, f := range map[string]func(*testing.T, *harness.Carob){
		"default class": defaultClass, "chosen volumes": chosen, "ephemeral": ephemeral, "refused and waiting": refused, "missing": missing, "stateful": stateful,
		"reclaimed": reclaimed,
	} {
		t.Run(name, func(t *testing.T) { f(t, c) })
	}
}

func claim(name, spec string) string {
	return `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: ` + name + `}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}, limits: {storage: 1Gi}}` + spec + `}
---`
}

// pod runs a script with the claim of its name at /data.
func pod(name, script, source string) string {
	return `
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  securityContext: {fsGroup: 1234}
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, '` + script + `']
      volumeMounts: [{name: data, mountPath: /data}, {name: data, mountPath: /part, subPath: part}]
  volumes: [{name: data, ` + source + `}]
---`
}

func becomes(t *testing.T, c *harness.Carob, kind, name, path, want string) {
	t.Helper()
	harness.Eventually(t, 60*time.Second, func() string {
		if got := c.Get(t, kind, name, path); got != want {
			return kind + " " + name + ": " + path + " is " + got + ", want " + want
		}
		return ""
	})
}

// event waits for an event whose message contains want.
func event(t *testing.T, c *harness.Carob, name, reason, want string) {
	t.Helper()
	harness.Eventually(t, 60*time.Second, func() string {
		got := c.K(t, "get", "events", "--field-selector", "involvedObject.name="+name+",reason="+reason, "-o", `jsonpath={range .items[*]}{.message}{"\n"}{end}`)
		if strings.Contains(got, want) {
			return ""
		}
		return "events of " + name + " for " + reason + ": " + got + ", want " + want
	})
}

func gone(t *testing.T, c *harness.Carob, what, path string) {
	t.Helper()
	harness.Eventually(t, 60*time.Second, func() string {
		if _, err := os.Lstat(path); err == nil {
			return path + " is there"
		}
		return strings.TrimSpace(c.K(t, "get", what, "--ignore-not-found", "-o", "name"))
	})
}

func exists(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s: %q, %v, want %q", path, got, err, want)
	}
}

// defaultClass: a claim that names no class gets a directory of the node when a
// pod needs it; what is in it outlives the pod; it grows; and it goes with the
// claim, though not while a pod uses it.
func defaultClass(t *testing.T, c *harness.Carob) {
	c.Apply(t, claim("data", ""))
	event(t, c, "data", "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
	becomes(t, c, "pvc", "data", "{.spec.storageClassName} {.status.phase}", "local Pending")
	c.Apply(t, pod("writes", "id -G; echo kept >/data/file; echo part >/part/file", "persistentVolumeClaim: {claimName: data}"))
	becomes(t, c, "pod", "writes", "{.status.phase}", "Succeeded")
	becomes(t, c, "pvc", "data", "{.status.phase} {.status.capacity.storage} {.status.accessModes}", `Bound 10Mi ["ReadWriteOnce"]`)
	volume := c.Get(t, "pvc", "data", "{.spec.volumeName}")
	becomes(t, c, "pv", volume, "{.status.phase} {.spec.persistentVolumeReclaimPolicy} {.spec.claimRef.name} {.spec.storageClassName}", "Bound Delete data local")
	event(t, c, "data", "ProvisioningSucceeded", "Successfully provisioned volume "+volume)
	dir := c.Get(t, "pv", volume, "{.spec.local.path}")
	if dir != filepath.Join(c.DataDir, "volumes", volume) {
		t.Errorf("the directory is %s", dir)
	}
	exists(t, filepath.Join(dir, "file"), "kept\n")
	exists(t, filepath.Join(dir, "part", "file"), "part\n")
	if got := c.K(t, "logs", "writes"); !strings.Contains(got, "1234") {
		t.Errorf("groups: %s", got)
	}

	c.Apply(t, pod("reads", "cat /data/file; touch /data/no 2>&1; sleep 1000", "persistentVolumeClaim: {claimName: data, readOnly: true}"))
	becomes(t, c, "pod", "reads", "{.status.phase}", "Running")
	harness.Eventually(t, 20*time.Second, func() string {
		if got := c.K(t, "logs", "reads"); got != "kept\ntouch: /data/no: Read-only file system\n" {
			return "got " + got
		}
		return ""
	})
	if out, err := c.Kubectl("patch", "pvc", "data", "-p", `{"spec":{"resources":{"requests":{"storage":"5Mi"}}}}`); err == nil ||
		!strings.Contains(out, "field can not be less than status.capacity") {
		t.Errorf("shrinking: %s %v", out, err)
	}
	c.K(t, "patch", "pvc", "data", "-p", `{"spec":{"resources":{"requests":{"storage":"20Mi"}}}}`)
	becomes(t, c, "pvc", "data", "{.status.capacity.storage}", "20Mi")
	becomes(t, c, "pv", volume, "{.spec.capacity.storage}", "20Mi")
	event(t, c, "data", "VolumeResizeSuccessful", "Resize volume succeeded")

	c.K(t, "delete", "pvc", "data", "--wait=false")
	c.K(t, "delete", "pod", "writes")
	exists(t, filepath.Join(dir, "file"), "kept\n")
	if got := c.Get(t, "pvc", "data", "{.status.phase} {.metadata.finalizers}"); got != `Bound ["kubernetes.io/pvc-protection"]` {
		t.Errorf("the claim of a pod that runs: %s", got)
	}
	c.K(t, "delete", "pod", "reads")
	gone(t, c, "pvc/data", dir)
	gone(t, c, "pv/"+volume, dir)
}

// chosen: volumes that an administrator made are found by class, labels, size
// and name; they are kept when their claim goes.
func chosen(t *testing.T, c *harness.Carob) {
	node := strings.TrimSpace(c.K(t, "get", "nodes", "-o", "jsonpath={.items[0].metadata.labels.kubernetes\\.io/hostname}"))
	volume := func(name, source string) string {
		dir := filepath.Join(c.Dir, name)
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: %s, labels: {name: %[1]s}}
spec: {accessModes: [ReadWriteOnce, ReadWriteMany], capacity: {storage: 50Mi}, storageClassName: hand, %[2]s}
---`, name, fmt.Sprintf(source, dir))
	}
	const affinity = ", nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%s]}]}]}}"
	c.Apply(t, volume("by-label", "hostPath: {path: %s}")+volume("by-name", "hostPath: {path: %s, type: Directory}")+
		volume("here", "local: {path: %s}"+strings.ReplaceAll(affinity, "%s", node))+
		volume("there", "local: {path: %s}"+strings.ReplaceAll(affinity, "%s", "elsewhere")))
	c.Apply(t, claim("labelled", ", storageClassName: hand, volumeMode: Filesystem, selector: {matchLabels: {name: by-label}, matchExpressions: [{key: name, operator: NotIn, values: [x]}]}")+
		claim("named", ", storageClassName: hand, volumeName: by-name")+
		claim("local", ", storageClassName: hand, selector: {matchLabels: {name: here}}")+
		claim("remote", ", storageClassName: hand, volumeName: there"))
	for _, name := range []string{"labelled", "named", "local", "remote"} {
		becomes(t, c, "pvc", name, "{.status.phase}", "Bound")
		c.Apply(t, pod(name, "echo "+name+" >/data/file", "persistentVolumeClaim: {claimName: "+name+"}"))
	}
	for claim, dir := range map[string]string{"labelled": "by-label", "named": "by-name", "local": "here"} {
		becomes(t, c, "pod", claim, "{.status.phase}", "Succeeded")
		exists(t, filepath.Join(c.Dir, dir, "file"), claim+"\n")
	}
	event(t, c, "remote", "FailedScheduling", "0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity.")
	c.K(t, "delete", "pod", "labelled", "named", "local", "remote")
	c.K(t, "delete", "pvc", "labelled")
	becomes(t, c, "pv", "by-label", "{.status.phase}", "Released")
	exists(t, filepath.Join(c.Dir, "by-label", "file"), "labelled\n")
	c.K(t, "delete", "pv", "by-name", "--wait=false")
	if got := c.Get(t, "pv", "by-name", "{.status.phase} {.metadata.finalizers}"); got != `Bound ["kubernetes.io/pv-protection"]` {
		t.Errorf("a bound volume that is deleted: %s", got)
	}
	c.K(t, "delete", "pvc", "named", "local", "remote")
	gone(t, c, "pv/by-name", "/nowhere")
	c.K(t, "delete", "pv", "by-label", "here", "there")
}

// reclaimed: what an administrator made goes with its claim where it may, and
// says why where not; nobody makes it larger.
func reclaimed(t *testing.T, c *harness.Carob) {
	dir, err := os.MkdirTemp("/tmp", "carob-e2e-reclaimed-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	volume := func(name, path string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: %s}\nspec: {accessModes: [ReadWriteOnce], capacity: {storage: 50Mi}, "+
			"storageClassName: passing, persistentVolumeReclaimPolicy: Delete, hostPath: {path: %s}}\n---\n", name, path)
	}
	c.Apply(t, "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: passing}\nprovisioner: x.example\nallowVolumeExpansion: true\n---\n"+
		volume("temporary", dir)+volume("lasting", "/nowhere/tmp/x")+
		claim("temporary", ", storageClassName: passing, volumeName: temporary")+claim("lasting", ", storageClassName: passing, volumeName: lasting"))
	becomes(t, c, "pvc", "temporary", "{.status.phase}", "Bound")
	becomes(t, c, "pvc", "lasting", "{.status.phase}", "Bound")
	c.Apply(t, pod("passes", "echo x >/data/file", "persistentVolumeClaim: {claimName: temporary}"))
	becomes(t, c, "pod", "passes", "{.status.phase}", "Succeeded")
	exists(t, filepath.Join(dir, "file"), "x\n")
	c.K(t, "patch", "pvc", "temporary", "-p", `{"spec":{"resources":{"requests":{"storage":"1Gi"}}}}`)
	event(t, c, "temporary", "ExternalExpanding", "waiting for an external controller to expand this PVC")
	c.K(t, "delete", "pod", "passes")
	c.K(t, "delete", "pvc", "temporary", "lasting")
	gone(t, c, "pv/temporary", dir)
	becomes(t, c, "pv", "lasting", "{.status.phase}: {.status.message}", "Failed: host_path deleter only supports /tmp/.+ but received provided /nowhere/tmp/x")
	event(t, c, "lasting", "VolumeFailedDelete", "host_path deleter only supports /tmp/.+ but received provided /nowhere/tmp/x")
	c.K(t, "delete", "pv", "lasting")
	c.K(t, "delete", "storageclass", "passing")
}

// ephemeral: the claim is made for the pod, and goes with it.
func ephemeral(t *testing.T, c *harness.Carob) {
	c.Apply(t, pod("scratch", "echo x >/data/file; sleep 1000",
		"ephemeral: {volumeClaimTemplate: {metadata: {labels: {of: scratch}, annotations: {note: mine}}, spec: {accessModes: [ReadWriteOncePod], volumeMode: Filesystem, resources: {requests: {storage: 1Mi}}}}}"))
	becomes(t, c, "pod", "scratch", "{.status.phase}", "Running")
	becomes(t, c, "pvc", "scratch-data", "{.status.phase} {.metadata.labels.of} {.metadata.annotations.note} {.metadata.ownerReferences[0].kind}", "Bound scratch mine Pod")
	c.Apply(t, pod("second", "true", "persistentVolumeClaim: {claimName: scratch-data}"))
	event(t, c, "second", "FailedScheduling", "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod")
	dir := c.Get(t, "pv", c.Get(t, "pvc", "scratch-data", "{.spec.volumeName}"), "{.spec.local.path}")
	c.K(t, "delete", "pod", "scratch", "second")
	gone(t, c, "pvc/scratch-data", dir)
}

// refused: what carob cannot do is refused with its path; what may come true
// waits, and says for what.
func refused(t *testing.T, c *harness.Carob) {
	for want, yaml := range map[string]string{
		"spec.nfs: Forbidden: not supported yet: there are no volume drivers; use local or hostPath":                                         "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: nono}\nspec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, nfs: {server: s, path: /}}",
		"spec.volumeMode: Forbidden: not supported yet: block devices are not handed to containers; use Filesystem":                          claim("nono", ", volumeMode: Block"),
		"spec.persistentVolumeReclaimPolicy: Forbidden: not supported yet: volumes are not emptied for the next claim; use Retain or Delete": "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: nono}\nspec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, hostPath: {path: /x}, persistentVolumeReclaimPolicy: Recycle}",
	} {
		if out, err := c.KubectlInput(yaml, "apply", "-f", "-"); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s\nwant %s", out, want)
		}
	}
	c.Apply(t, claim("classless", `, storageClassName: ""`)+claim("unknown", ", storageClassName: nothing"))
	c.Apply(t, pod("waits", "true", "persistentVolumeClaim: {claimName: classless}"))
	event(t, c, "classless", "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	event(t, c, "unknown", "ProvisioningFailed", `storageclass.storage.k8s.io "nothing" not found`)
	event(t, c, "waits", "FailedScheduling", "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.")
	c.K(t, "delete", "pod", "waits")
	c.K(t, "delete", "pvc", "classless", "unknown")
}

// missing: a pod waits for a claim that is not there, and starts when it is.
func missing(t *testing.T, c *harness.Carob) {
	c.Apply(t, pod("early", "true", "persistentVolumeClaim: {claimName: late}"))
	event(t, c, "early", "FailedScheduling", `0/1 nodes are available: persistentvolumeclaim "late" not found.`)
	c.Apply(t, claim("late", ""))
	becomes(t, c, "pod", "early", "{.status.phase}", "Succeeded")
	c.K(t, "delete", "pod", "early")
	c.K(t, "delete", "pvc", "late")
}

const (
	rounds  = 6
	members = 4
)

// TestKillsLoseAndDoubleNothing kills carob at random moments while claims are
// bound, used and deleted.
func TestKillsLoseAndDoubleNothing(t *testing.T) {
	n := uint64(time.Now().UnixNano())
	t.Logf("seed: %d", n)
	rnd := rand.New(rand.NewPCG(n, 1)) //nolint:gosec // moments, not secrets
	c := harness.Started(t)
	for round := range rounds {
		var all strings.Builder
		for i := range members {
			name := fmt.Sprintf("r%d-%d", round, i)
			all.WriteString(claim(name, "") + pod(name, "echo "+name+" >>/data/file", "persistentVolumeClaim: {claimName: "+name+"}"))
		}
		c.Apply(t, all.String())
		if round > 1 {
			// What the round before the last has made is deleted under way.
			for i := range members {
				name := fmt.Sprintf("r%d-%d", round-2, i)
				c.K(t, "delete", "pod,pvc", name, "--wait=false")
			}
		}
		wait := time.Duration(rnd.IntN(700)) * time.Millisecond
		t.Logf("round %d: kill after %v", round, wait)
		time.Sleep(wait)
		c.Kill(t)
		c.Up(t)
	}
	seen := map[string]string{}
	for round := rounds - 2; round < rounds; round++ {
		for i := range members {
			name := fmt.Sprintf("r%d-%d", round, i)
			becomes(t, c, "pod", name, "{.status.phase}", "Succeeded")
			becomes(t, c, "pvc", name, "{.status.phase}", "Bound")
			volume := c.Get(t, "pvc", name, "{.spec.volumeName}")
			if other := seen[volume]; other != "" {
				t.Errorf("%s and %s have the same volume", other, name)
			}
			seen[volume] = name
			exists(t, filepath.Join(c.DataDir, "volumes", volume, "file"), name+"\n")
		}
	}
	harness.Eventually(t, 60*time.Second, func() string {
		entries, err := os.ReadDir(filepath.Join(c.DataDir, "volumes"))
		if err != nil {
			return err.Error()
		}
		volumes := strings.Fields(c.K(t, "get", "pv", "-o", "name"))
		if len(entries) != 2*members || len(volumes) != 2*members {
			return fmt.Sprintf("%d directories, %d volumes: %v", len(entries), len(volumes), volumes)
		}
		return ""
	})
	c.K(t, "delete", "pod", "--all")
	c.K(t, "delete", "pvc", "--all")
	gone(t, c, "pv", "/nowhere")
}
