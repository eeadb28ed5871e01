package loop

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestQueueOrder(t *testing.T) {
	q := newQueue()
	now := time.Now()
	aged := func(name string, age time.Duration, priority int32) *corev1.Pod {
		p := pod(name, "1")
		p.CreationTimestamp = metav1.NewTime(now.Add(-age))
		p.Spec.Priority = &priority
		return p
	}
	for _, p := range []*corev1.Pod{aged("young", 0, 0), aged("old", time.Hour, 0), aged("twin1", time.Minute, 0), aged("twin2", time.Minute, 0), aged("important", 0, 5)} {
		q.set(p)
	}
	for _, want := range []string{"important", "old", "twin1", "twin2", "young"} {
		if it := q.pop(now); it == nil || it.pod.Name != want {
			t.Fatalf("got %+v, want %s", it, want)
		}
	}
	if q.pop(now) != nil {
		t.Error("more than there were")
	}
}

func TestQueueParking(t *testing.T) {
	now := time.Now()
	always := func(*corev1.Pod) bool { return true }
	t.Run("due", func(t *testing.T) {
		q := newQueue()
		q.set(pod("p", "1"))
		q.park(q.pop(now), now.Add(time.Second), false)
		if q.wake(always); q.pop(now) != nil {
			t.Error("a failed write is no reason to wake")
		}
		if next := q.next(); !next.Equal(now.Add(time.Second)) {
			t.Errorf("next %v", next)
		}
		if q.pop(now.Add(time.Second)) == nil {
			t.Error("not due")
		}
	})
	t.Run("woken", func(t *testing.T) {
		q := newQueue()
		q.set(pod("p", "1"))
		q.park(q.pop(now), now.Add(time.Hour), true)
		if q.wake(always); q.pop(now) == nil {
			t.Error("not woken")
		}
	})
	t.Run("woken while busy", func(t *testing.T) {
		q := newQueue()
		q.set(pod("p", "1"))
		it := q.pop(now)
		q.wake(always)
		if q.park(it, now.Add(time.Hour), true); q.pop(now) == nil {
			t.Error("change lost")
		}
	})
	t.Run("changed spec", func(t *testing.T) {
		q := newQueue()
		q.set(pod("p", "1"))
		q.park(q.pop(now), now.Add(time.Hour), true)
		status := pod("p", "1")
		status.Status.Phase = corev1.PodPending
		if q.set(status); q.pop(now) != nil {
			t.Error("a status is no reason to wake")
		}
		if q.set(pod("p", "2")); q.pop(now) == nil {
			t.Error("not woken")
		}
	})
	t.Run("removed", func(t *testing.T) {
		q := newQueue()
		q.set(pod("p", "1"))
		it := q.pop(now)
		q.remove(it.pod.UID)
		q.park(it, now, true)
		if q.pop(now) != nil || len(q.items)+len(q.busy)+len(q.hopeless) != 0 {
			t.Error("still there")
		}
	})
}
