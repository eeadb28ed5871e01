package agent_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// asking is a pod whose container requests this much CPU and memory.
func asking(name, cpu, memory string) *corev1.Pod {
	p := newPod(name, "app")
	p.Generation = 1
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": *quantity(cpu), "memory": *quantity(memory)},
		Limits:   corev1.ResourceList{"memory": *quantity(memory)},
	}
	return p
}

// resize does what the subresource does.
func (r *rig) resize(name, cpu, memory string) {
	r.t.Helper()
	p := r.get(name)
	p.Generation++
	p.Spec.Containers[0].Resources = asking(name, cpu, memory).Spec.Containers[0].Resources
	if _, err := r.client.CoreV1().Pods(p.Namespace).Update(context.Background(), p, metav1.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func conditionOf(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func (r *rig) wantSize(name, cpu, memory string) {
	r.t.Helper()
	p := r.get(name)
	res := p.Status.ContainerStatuses[0].Resources
	if res.Requests.Cpu().String() != cpu || res.Limits.Memory().String() != memory {
		r.t.Errorf("%s has %v, want %s and %s", name, res, cpu, memory)
	}
	if n := p.Status.ContainerStatuses[0].RestartCount; n != 0 {
		r.t.Errorf("%s: %d restarts", name, n)
	}
}

func TestResizeGrowsAroundWhatGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		defer func() { r.stop() }()
		r.create(asking("web", "100m", "64Mi"))
		r.after(5 * time.Second)
		r.wantRunning("web")
		for _, step := range []struct {
			cpu, memory string
			order       []string
		}{
			{"200m", "128Mi", []string{"uid-web", "uid-web-app-0", "uid-web"}},
			{"50m", "32Mi", []string{"uid-web", "uid-web-app-0", "uid-web"}},
		} {
			r.world.locked(func() { r.world.resizes = nil })
			r.resize("web", step.cpu, step.memory)
			r.after(5 * time.Second)
			r.wantSize("web", step.cpu, step.memory)
			r.world.locked(func() {
				group, inside := r.world.limits["uid-web"], r.world.limits["uid-web-app-0"]
				if group.MemoryLimit != inside.MemoryLimit || len(r.world.resizes) < 2 {
					t.Errorf("group %+v, container %+v, in order %v", group, inside, r.world.resizes)
				}
			})
		}
		if c := conditionOf(r.get("web"), corev1.PodResizeInProgress); c != nil {
			t.Errorf("left behind: %+v", c)
		}
		r.saw("web", "Normal ResizeStarted  Pod resize started: {\"containers\":[{\"name\":\"app\"")
		r.saw("web", "Normal ResizeCompleted  Pod resize completed: {")
	})
}

func TestResizeWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		defer func() { r.stop() }()
		r.create(asking("web", "100m", "64Mi"))
		r.create(asking("hog", "3500m", "64Mi"))
		r.after(5 * time.Second)
		r.resize("web", "1", "64Mi")
		r.after(5 * time.Second)
		r.wantSize("web", "100m", "64Mi")
		c := conditionOf(r.get("web"), corev1.PodResizePending)
		if c == nil || c.Reason != "Deferred" || c.ObservedGeneration != 2 {
			t.Fatalf("condition: %+v", c)
		}
		r.saw("web", "Warning ResizeDeferred  Pod resize OutOfcpu: {")

		r.stop() // as a kill does: nothing is kept but what runs, and the API
		r.start()
		r.after(5 * time.Second)
		r.wantSize("web", "100m", "64Mi")
		if err := r.client.CoreV1().Pods("default").Delete(context.Background(), "hog", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		r.after(5 * time.Second)
		r.wantSize("web", "1", "64Mi")
		if c := conditionOf(r.get("web"), corev1.PodResizePending); c != nil {
			t.Errorf("left behind: %+v", c)
		}
	})
}

func TestResizeBelowUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		defer func() { r.stop() }()
		r.create(asking("web", "100m", "64Mi"))
		r.after(5 * time.Second)
		r.world.locked(func() {
			r.world.memory["uid-web-app-0"] = 40 << 20
			r.world.limits["uid-web-app-0"] = pod.Resources{MemoryLimit: 64 << 20}
		})
		r.resize("web", "100m", "32Mi")
		r.after(5 * time.Second)
		r.wantSize("web", "100m", "64Mi")
		c := conditionOf(r.get("web"), corev1.PodResizeInProgress)
		want := `cannot decrease memory limits: attempting to set container "app" memory limit (33554432) below current usage (41943040)`
		if c == nil || c.Reason != "Error" || c.Message != want {
			t.Fatalf("condition: %+v", c)
		}
		r.saw("web", "Warning ResizeError  Pod resize error: {")
		r.world.locked(func() { r.world.memory["uid-web-app-0"] = 10 << 20 })
		r.after(time.Minute)
		r.wantSize("web", "100m", "32Mi")
	})
}

// An agent that dies at any moment of a resize leaves what the next one brings
// to its end, with the same attempt.
func TestKilledInAResize(t *testing.T) {
	for cut := time.Duration(0); cut <= 60*time.Millisecond; cut += 3 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.start()
			defer func() { r.stop() }()
			r.create(asking("web", "100m", "64Mi"))
			r.after(5 * time.Second)
			r.resize("web", "200m", "128Mi")
			time.Sleep(cut)
			r.stop()
			r.start()
			r.after(10 * time.Second)
			r.wantResized("web", "200m", "128Mi")
		})
	}
}

func TestResizeThatFailsAtFirst(t *testing.T) {
	for _, op := range []string{"set-resources", "resize-pod"} {
		for _, cause := range []error{pod.ErrUnavailable, context.DeadlineExceeded} {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.start()
				defer func() { r.stop() }()
				r.create(asking("web", "200m", "128Mi"))
				r.after(5 * time.Second)
				var failed atomic.Int32
				r.world.locked(func() {
					r.world.faults[op] = func() error {
						if failed.Add(1) <= 3 {
							return fmt.Errorf("%s: %w", op, cause)
						}
						return nil
					}
				})
				r.resize("web", "100m", "64Mi")
				r.after(time.Minute)
				r.wantResized("web", "100m", "64Mi")
				if failed.Load() < 4 {
					t.Errorf("%s was tried %d times only", op, failed.Load())
				}
			})
		}
	}
}

// wantResized wants one attempt of this size, in a group that fits, and nothing
// said of a resize any more.
func (r *rig) wantResized(name, cpu, memory string) {
	r.t.Helper()
	r.wantSize(name, cpu, memory)
	p := r.get(name)
	for _, kind := range []corev1.PodConditionType{corev1.PodResizePending, corev1.PodResizeInProgress} {
		if c := conditionOf(p, kind); c != nil {
			r.t.Errorf("left behind: %+v", c)
		}
	}
	r.world.locked(func() {
		id := string(p.UID) + "-app-0"
		want := pod.Lifted(pod.PodResources(p))
		for _, of := range []string{string(p.UID), id} {
			if is := r.world.limits[of]; !pod.SameLimits(is, want) {
				r.t.Errorf("%s has %+v, want %+v", of, is, want)
			}
		}
		if got := r.world.attempts[id].Applied; got != pod.AppliedFor(p, &p.Spec.Containers[0]) {
			r.t.Errorf("the record says %s", got)
		}
	})
}
