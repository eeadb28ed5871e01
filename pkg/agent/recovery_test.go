package agent_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/carob-project/carob/pkg/agent"
	"github.com/carob-project/carob/pkg/pod"
)

// TestAgentRestarts drops the agent at every point of a pod's start and, in a
// second round, of its deletion.
func TestAgentRestarts(t *testing.T) {
	for at := time.Duration(0); at < 120*time.Millisecond; at += 3 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.start()
			r.create(newPod("web", "app", "side"))
			time.Sleep(at)
			before := r.world.live("uid-web")
			r.stop()
			r.start()
			r.after(30 * time.Second)
			r.wantRunning("web")
			for _, a := range before {
				if a.State == pod.AttemptRunning && !slices.ContainsFunc(r.world.live("uid-web"), func(b pod.Attempt) bool { return b.PID == a.PID }) {
					t.Errorf("dropped at %v: running container %s was replaced", at, a.ID)
				}
			}
			for _, cs := range r.get("web").Status.ContainerStatuses {
				if cs.RestartCount != 0 {
					t.Errorf("dropped at %v: restartCount %d", at, cs.RestartCount)
				}
			}
			for _, a := range r.world.live("uid-web") {
				if !r.world.copying[agent.LogKey{Pod: a.Pod, Container: a.Container, Number: a.Number}] {
					t.Errorf("dropped at %v: nobody copies the log of %s", at, a.ID)
				}
			}
			r.markDeleted("web", 5)
			time.Sleep(at)
			r.stop()
			r.start()
			r.after(30 * time.Second)
			if !r.gone("web") {
				t.Errorf("dropped at %v of the deletion: the object is still there", at)
			}
			r.wantNothing("uid-web")
			r.stop()
		})
	}
}

func TestForceDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.world.deaf = true
		r.start()
		defer func() { r.stop() }()
		r.create(newPod("web", "app"))
		r.after(time.Second)
		if err := r.client.CoreV1().Pods("default").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		again := newPod("web", "app")
		again.UID = "uid-again"
		r.create(again)
		r.after(5 * time.Second)
		r.wantRunning("web")
		if len(r.world.live("uid-web")) != 1 {
			t.Error("the old pod got no grace")
		}
		if p, _, ok := r.agent.FindPod("default", "web"); !ok || p.UID != "uid-again" {
			t.Error("the name does not lead to the new pod")
		}
		r.after(30 * time.Second)
		r.wantNothing("uid-web")
		r.wantRunning("web")
	})
}

// The API marks an object that is deleted without grace, and deletes it at
// once: what the agent had to say about the mark finds nobody any more.
func TestNothingIsSaidOfWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		defer func() { r.stop() }()
		r.create(newPod("web", "app"))
		r.after(time.Second)
		r.wantRunning("web")
		r.statusWrites()
		r.world.deaf = true
		r.markDeleted("web", 1)
		r.after(50 * time.Millisecond)
		if err := r.client.CoreV1().Pods("default").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		r.after(time.Minute)
		if n := r.statusWrites(); n != 0 {
			t.Errorf("%d writes about a pod that is gone", n)
		}
		r.wantNothing("uid-web")
	})
}

func TestRuntimeAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.world.setAway(true)
		r.start()
		defer func() { r.stop() }()
		r.create(newPod("early", "app"))
		r.after(time.Minute)
		r.world.setAway(false)
		r.after(10 * time.Second)
		r.wantRunning("early")

		r.world.setAway(true)
		r.create(newPod("late", "app"))
		calls := r.world.count("watch") + r.world.count("list")
		r.after(10 * time.Minute)
		if n := r.world.count("watch") + r.world.count("list") - calls; n > 250 {
			t.Errorf("%d tries in ten minutes", n)
		}
		if n := r.world.count("create"); n > 1 {
			t.Errorf("%d containers were made without a runtime", n)
		}
		r.world.setAway(false)
		r.after(10 * time.Second)
		r.wantRunning("early")
		r.wantRunning("late")
		if n := r.get("early").Status.ContainerStatuses[0].RestartCount; n != 0 {
			t.Errorf("restartCount %d", n)
		}
	})
}

func TestGarbage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.world
		for _, uid := range []types.UID{"orphan", "uid-web"} {
			w.attempts[string(uid)+"-app-0"] = &pod.Attempt{
				Pod: pod.Ref{UID: uid, Namespace: "default", Name: "web"}, Container: "app", ID: string(uid) + "-app-0",
				State: pod.AttemptRunning, PID: 7, CreatedAt: time.Now(), StartedAt: time.Now(),
				SpecHash: pod.SpecHash(&newPod("web", "app").Spec.Containers[0]),
			}
			w.sandbox[uid] = &pod.Sandbox{Attached: true, IPs: []string{"10.0.0.9"}, CreatedAt: time.Now().Add(-time.Minute)}
			w.volumes[uid] = true
		}
		w.sandbox["lonely-sandbox"] = &pod.Sandbox{Stale: true}
		w.volumes["lonely-volumes"] = true
		r.create(newPod("web", "app"))
		wanted := newPod("wanted", "app")
		wanted.UID = "wanted"
		r.create(wanted)
		r.start()
		defer func() { r.stop() }()
		r.after(10 * time.Second)
		for _, uid := range []types.UID{"orphan", "lonely-sandbox", "lonely-volumes"} {
			r.wantNothing(uid)
		}
		r.wantRunning("web")
		if l := w.live("uid-web"); len(l) != 1 || l[0].PID != 7 {
			t.Errorf("the wanted container was not adopted: %+v", l)
		}
		if !w.kept["wanted"] || w.kept["unwanted"] {
			t.Errorf("collectors were told %v", w.kept)
		}
		w.locked(func() { w.volumes["later"] = true })
		r.after(6 * time.Minute)
		r.wantNothing("later")
	})
}

func TestAPIAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var away atomic.Bool
		r.client.PrependReactor("*", "*", func(a clienttesting.Action) (bool, runtimeObject, error) {
			if away.Load() && a.GetVerb() != "watch" {
				return true, nil, apierrors.NewServiceUnavailable("the API is away")
			}
			return false, nil, nil
		})
		r.start()
		defer func() { r.stop() }()
		r.create(newPod("web", "app"))
		r.after(time.Second)
		r.wantRunning("web")
		away.Store(true)
		r.world.exit(r.world.live("uid-web")[0].ID, 1, 0)
		r.after(2 * time.Second)
		if l := r.world.live("uid-web"); len(l) != 1 || l[0].Number != 1 {
			t.Errorf("no restart while the API was away: %+v", l)
		}
		r.after(10 * time.Minute)
		away.Store(false)
		r.after(30 * time.Second)
		r.wantRunning("web")
		cs := r.get("web").Status.ContainerStatuses[0]
		if cs.RestartCount != 1 || cs.LastTerminationState.Terminated == nil {
			t.Errorf("status %+v", cs)
		}
	})
}

// TestFaults lets every operation fail a few times, before its effect, in each
// way that parts can fail.
func TestFaults(t *testing.T) {
	ops := []string{
		"pull", "sandbox", "attach", "prepare", "set ips", "create", "start",
		"signal terminated", "remove", "detach", "remove sandbox", "remove volumes",
	}
	for _, op := range ops {
		for _, cause := range []error{pod.ErrUnavailable, pod.ErrConfig, context.DeadlineExceeded} {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				clear(r.world.images)
				var failed atomic.Int32
				r.world.faults[op] = func() error {
					if failed.Add(1) <= 3 {
						return fmt.Errorf("%s: %w", op, cause)
					}
					return nil
				}
				r.start()
				defer func() { r.stop() }()
				r.create(newPod("web", "app"))
				r.after(3 * time.Minute)
				r.wantRunning("web")
				if n := r.get("web").Status.ContainerStatuses[0].RestartCount; n != 0 {
					t.Errorf("%s fails with %v: restartCount %d", op, cause, n)
				}
				r.markDeleted("web", 5)
				r.after(3 * time.Minute)
				if !r.gone("web") {
					t.Errorf("%s fails with %v: the object is still there", op, cause)
				}
				r.wantNothing("uid-web")
				if failed.Load() < 4 {
					t.Errorf("%s was tried %d times only", op, failed.Load())
				}
			})
		}
	}
}
