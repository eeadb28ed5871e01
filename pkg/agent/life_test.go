package agent_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// Exec does what the world says about the command; a command it says nothing
// about succeeds at once.
func (w *world) Exec(ctx context.Context, id string, cmd []string, timeout time.Duration) ([]byte, int, error) {
	w.mu.Lock()
	f := w.execs[cmd[0]]
	at := w.attempts[id]
	runs := at != nil && at.State == pod.AttemptRunning
	w.calls["exec "+cmd[0]]++
	w.mu.Unlock()
	if !runs {
		return nil, 0, fmt.Errorf("exec: %w", pod.ErrNotFound)
	}
	if f == nil {
		return nil, 0, nil
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return f(ctx)
}

func answers(out string, code int) func(context.Context) ([]byte, int, error) {
	return func(context.Context) ([]byte, int, error) { return []byte(out), code, nil }
}

func takes(d time.Duration) func(context.Context) ([]byte, int, error) {
	return func(ctx context.Context) ([]byte, int, error) { return nil, 0, pause(ctx, d) }
}

func command(cmd string) corev1.ProbeHandler {
	return corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{cmd}}}
}

func hook(cmd string) *corev1.LifecycleHandler {
	return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{cmd}}}
}

func (r *rig) exec(cmd string, f func(context.Context) ([]byte, int, error)) {
	r.world.locked(func() { r.world.execs[cmd] = f })
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func TestProbesOfAPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.exec("up", answers("not yet", 1))
		r.start()
		defer func() { r.stop() }()
		p := newPod("web", "app")
		c := &p.Spec.Containers[0]
		c.StartupProbe = &corev1.Probe{ProbeHandler: command("up"), PeriodSeconds: 1, FailureThreshold: 30}
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: command("ready"), PeriodSeconds: 1, FailureThreshold: 2}
		c.LivenessProbe = &corev1.Probe{ProbeHandler: command("live"), PeriodSeconds: 1, TimeoutSeconds: 1, FailureThreshold: 3}
		r.create(p)
		r.after(5 * time.Second)
		if n := r.world.count("exec ready") + r.world.count("exec live"); n != 0 || isReady(r.get("web")) {
			t.Errorf("%d probes before the startup probe succeeded", n)
		}
		r.saw("web", `Warning Unhealthy spec.containers{app} Startup probe failed: not yet`)
		r.exec("up", nil)
		r.after(2 * time.Second)
		if !isReady(r.get("web")) {
			t.Error("not ready")
		}
		ups := r.world.count("exec up")
		r.exec("ready", answers("busy", 1))
		r.after(3 * time.Second)
		if isReady(r.get("web")) {
			t.Error("still ready")
		}
		r.exec("ready", nil)
		r.after(2 * time.Second)
		// What an agent has said holds for the next one.
		r.stop()
		r.statusWrites()
		r.start()
		r.after(3 * time.Second)
		if n := r.statusWrites(); n != 0 || !isReady(r.get("web")) || r.world.count("exec up") != ups {
			t.Errorf("a restart of the agent: %d status writes, %d startup probes", n, r.world.count("exec up")-ups)
		}
		r.exec("live", takes(time.Hour))
		r.after(10 * time.Second)
		r.saw("web", `Warning Unhealthy spec.containers{app} Liveness probe failed: command timed out: "live" timed out after 1s`)
		r.saw("web", `Normal Killing spec.containers{app} Container app failed liveness probe, will be restarted`)
		r.exec("live", nil)
		r.after(time.Minute)
		if cs := r.get("web").Status.ContainerStatuses[0]; cs.RestartCount == 0 || !cs.Ready {
			t.Errorf("status %+v", cs)
		}
	})
}

func TestHooksOfAPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.exec("hello", takes(4*time.Second))
		r.exec("goodbye", takes(6*time.Second))
		r.start()
		defer func() { r.stop() }()
		p := newPod("web", "app")
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: hook("hello"), PreStop: hook("goodbye")}
		r.create(p)
		r.after(3 * time.Second)
		if st := r.get("web").Status; st.Phase != corev1.PodPending || st.ContainerStatuses[0].State.Waiting == nil {
			t.Errorf("before the hook's end: %+v", st)
		}
		// A hook whose end nobody saw runs again.
		r.stop()
		r.start()
		r.after(5 * time.Second)
		r.wantRunning("web")
		if n := r.world.count("exec hello"); n != 2 {
			t.Errorf("%d postStart hooks", n)
		}
		r.markDeleted("web", 30)
		r.after(5 * time.Second)
		if n := r.world.count("signal terminated"); n != 0 {
			t.Error("the signal came before the hook's end")
		}
		r.after(5 * time.Second)
		r.saw("web", `Normal Killing spec.containers{app} Stopping container app`)
		if n := r.world.count("exec goodbye"); n != 1 || r.world.count("signal terminated") != 1 {
			t.Errorf("%d preStop hooks, %d signals", n, r.world.count("signal terminated"))
		}
	})
}

func TestFailedHooksOfAPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.exec("hello", answers("broken", 3))
		r.exec("goodbye", answers("", 1))
		r.start()
		defer func() { r.stop() }()
		p := newPod("web", "app")
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: hook("hello"), PreStop: hook("goodbye")}
		r.create(p)
		r.after(5 * time.Second)
		for _, e := range []string{
			"Warning FailedPostStartHook spec.containers{app} PostStartHook failed",
			"Normal Killing spec.containers{app} FailedPostStartHook",
			"Warning FailedPreStopHook spec.containers{app} PreStopHook failed",
		} {
			r.saw("web", e)
		}
		r.exec("hello", nil)
		r.after(time.Minute)
		if cs := r.get("web").Status.ContainerStatuses[0]; !cs.Ready || cs.RestartCount == 0 || !strings.Contains(cs.LastTerminationState.String(), "Terminated") {
			t.Errorf("status %+v", cs)
		}
	})
}
