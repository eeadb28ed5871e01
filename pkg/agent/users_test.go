package agent_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/agent"
	"github.com/carob-project/carob/pkg/pod"
)

// A pod that wants users of its own waits until its runtime can give them.
func TestOwnUsersWaitForTheRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var can atomic.Bool
		r := newRig(t)
		r.options = func(o *agent.Options) {
			o.Features = func(context.Context, string) pod.Features { return pod.Features{UserNamespaces: can.Load()} }
		}
		r.start()
		defer func() { r.stop() }()
		p := newPod("own", "app")
		p.Spec.HostUsers = ptr.To(false)
		r.create(p)
		r.create(newPod("plain", "app"))
		r.after(time.Minute)
		r.wantRunning("plain")
		r.saw("own", "Warning FailedCreatePodSandBox  Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces")
		if s, err := (sandboxes{r.world}).Get(p.UID); s != nil || err != nil {
			t.Errorf("a sandbox was made: %+v %v", s, err)
		}
		can.Store(true)
		r.after(10 * time.Minute)
		r.wantRunning("own")
	})
}
