package budget

import (
	"fmt"
	"testing"

	"github.com/carob-project/carob/e2e/harness"
)

const twoSleepers = `
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - {name: a, image: 'busybox:1.35', command: [sleep, '100000']}
    - {name: b, image: 'busybox:1.35', command: [sleep, '100000']}
`

func TestPodLife(t *testing.T) {
	b := budget(t)
	metrics := "127.0.0.1:" + harness.FreePort(t)
	containerd := harness.NewContainerd(t, fmt.Sprintf("[metrics]\n  address = %q\n", metrics))
	c := harness.New(t)
	c.Args = append(c.Args, "--containerd-address", containerd.Socket())
	c.Up(t)
	c.Import(t)
	etcd := store(t, c)
	life := func(name string) {
		c.Apply(t, fmt.Sprintf(twoSleepers, name))
		c.WaitReady(t, name)
		c.K(t, "delete", "pod", name)
	}
	// The first one asks what is then remembered.
	life("first")
	var called, written []counts
	for i := range 3 {
		name := fmt.Sprintf("budget-%d", i)
		before, from := calls(t, metrics), revision(t, etcd)
		life(name)
		called = append(called, calls(t, metrics).since(before))
		written = append(written, writes(t, etcd, from, revision(t, etcd), name))
	}
	t.Logf("a pod's life: %v %v", least(called), least(written))
	hold(t, "podLife.containerdCalls", "calls of containerd in a pod's life", least(called), b.PodLife.ContainerdCalls, exact)
	hold(t, "podLife.etcdWrites", "writes to etcd in a pod's life", least(written), b.PodLife.EtcdWrites, loose)
}
