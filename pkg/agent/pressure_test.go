package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/agent"
	"github.com/carob-project/carob/pkg/eviction"
	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/usage"
)

// gauges measures the world.
type gauges struct{ *world }

func (gauges) Name() string                 { return "/kubepods" }
func (g gauges) PodsMemory() (int64, error) { return 0, errors.New("none") }

func (g gauges) Bound(r pod.Resources) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bound = r
	return nil
}

func (g gauges) PodUse(p *corev1.Pod) (memory, processes int64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.usage["memory "+p.Spec.Containers[0].Name], 1, nil
}

func (gauges) NodeUsage(context.Context) (usage.Counters, error) {
	return usage.Counters{}, errors.New("none")
}

func (g gauges) ContainerUsage(_ *corev1.Pod, id string) (usage.Counters, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return usage.Counters{Memory: uint64(g.usage["memory "+g.attempts[id].Container])}, nil
}

func underPressure(t *testing.T, r *rig, hard string) {
	t.Helper()
	thresholds, err := eviction.Parse(eviction.Settings{Hard: map[string]string{"memory.available": hard}})
	if err != nil {
		t.Fatal(err)
	}
	r.options = func(o *agent.Options) {
		o.Bounds, o.Meter = gauges{r.world}, gauges{r.world}
		o.Pressure = agent.Pressure{
			Thresholds: thresholds, Reserved: corev1.ResourceList{corev1.ResourceMemory: *quantity("1Gi"), corev1.ResourceCPU: *quantity("1")},
		}
	}
}

func (r *rig) condition(t corev1.NodeConditionType) corev1.ConditionStatus {
	r.t.Helper()
	n, err := r.client.CoreV1().Nodes().Get(context.Background(), "node", metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range n.Status.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return ""
}

// A node that runs out of memory ends the pod that uses the most beyond its
// request, no other, and takes no pod that requests nothing until the pressure
// has been gone for five minutes.
func TestMemoryPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		underPressure(t, r, "1Gi")
		r.world.usage["memory greedy"], r.world.usage["memory modest"] = 5<<30, 1<<30+1
		r.start()
		defer func() { r.stop() }()
		r.create(newPod("modest", "modest"))
		r.after(12 * time.Second)
		if got := r.condition(corev1.NodeMemoryPressure); got != corev1.ConditionFalse {
			t.Errorf("with enough memory: %s", got)
		}
		r.create(newPod("greedy", "greedy"))
		r.after(2 * time.Minute)
		st := r.get("greedy").Status
		want := "The node was low on resource: memory. Threshold quantity: 1Gi, available: 1073741823. " +
			"Container greedy was using 5Gi, request is 0, has larger consumption of memory. "
		if st.Phase != corev1.PodFailed || st.Reason != "Evicted" || st.Message != want {
			t.Errorf("status %s %s %q", st.Phase, st.Reason, st.Message)
		}
		if !slices.ContainsFunc(st.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.DisruptionTarget && c.Reason == "TerminationByKubelet" && c.Message == want
		}) {
			t.Errorf("conditions %+v", st.Conditions)
		}
		r.wantRunning("modest")
		r.saw("node", "Warning EvictionThresholdMet  Attempting to reclaim memory")
		r.saw("node", "Normal NodeHasInsufficientMemory  Node node status is now: NodeHasInsufficientMemory")
		r.saw("greedy", "Warning Evicted  The node was low on resource: memory. ")
		if n := len(r.world.live("uid-greedy")); n != 0 {
			t.Errorf("%d attempts live", n)
		}

		r.create(newPod("late", "late"))
		asking := newPod("asking", "asking")
		asking.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: *quantity("1Mi")}
		r.create(asking)
		r.after(10 * time.Second)
		st = r.get("late").Status
		if st.Phase != corev1.PodFailed || st.Reason != "Evicted" || st.Message != "Pod was rejected: The node had condition: [MemoryPressure]. " ||
			len(st.ContainerStatuses) != 0 {
			t.Errorf("a pod without requests under pressure: %+v", st)
		}
		r.saw("late", "Warning Evicted  The node had condition: [MemoryPressure]. ")
		r.wantRunning("asking")
		r.after(5 * time.Minute)
		if got := r.condition(corev1.NodeMemoryPressure); got != corev1.ConditionFalse {
			t.Errorf("in the end: %s", got)
		}
		r.create(newPod("again", "again"))
		r.after(10 * time.Second)
		r.wantRunning("again")
	})
}

// What is reserved, and what thresholds keep free, is not for pods.
func TestReservations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		underPressure(t, r, "512Mi")
		r.start()
		defer func() { r.stop() }()
		fits, big := newPod("fits", "a"), newPod("big", "b")
		fits.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: *quantity("6Gi"), corev1.ResourceCPU: *quantity("1")}
		big.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: *quantity("1Gi")}
		r.create(fits)
		r.after(5 * time.Second)
		r.create(big)
		r.after(5 * time.Second)
		r.wantRunning("fits")
		if st := r.get("big").Status; st.Reason != "OutOfmemory" || !strings.HasSuffix(st.Message, fmt.Sprintf("capacity: %d", int64(6.5*(1<<30)))) {
			t.Errorf("status %s %q", st.Reason, st.Message)
		}
		n, err := r.client.CoreV1().Nodes().Get(t.Context(), "node", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := n.Status.Allocatable.Cpu().String() + " " + n.Status.Allocatable.Memory().String(); got != "3 6656Mi" {
			t.Errorf("allocatable %s", got)
		}
		if b := r.world.bound; b.MemoryLimit != 7<<30 || b.CPUShares != 3*1024 || b.PIDsLimit != 0 {
			t.Errorf("all pods are bound to %+v", b)
		}
		r.saw("node", "Normal NodeAllocatableEnforced  Updated Node Allocatable limit across pods")
	})
}

// shelf holds images.
type shelf struct{ *world }

func (s shelf) StoredImages(context.Context) ([]eviction.StoredImage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.shelf), nil
}

func (s shelf) RemoveImage(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shelf = slices.DeleteFunc(s.shelf, func(i eviction.StoredImage) bool { return i.Name == name })
	return nil
}

func TestImagesAreCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.options = func(o *agent.Options) {
			o.ImageStore, o.ImagePolicy = shelf{r.world}, eviction.DefaultImagePolicy()
		}
		old := time.Now().Add(-time.Hour)
		r.world.shelf = []eviction.StoredImage{
			{Name: "a", Size: 6 << 20, Created: old}, {Name: "b", Size: 6 << 20, Created: old, LastUsed: old.Add(time.Minute)},
			{Name: "kept", Size: 6 << 20, Created: old, Kept: true},
		}
		r.world.usage["disk left"] = 50 << 20
		r.start()
		defer func() { r.stop() }()
		left := func() string {
			names := ""
			r.world.locked(func() {
				for _, i := range r.world.shelf {
					names += i.Name + " "
				}
			})
			return names
		}
		r.after(6 * time.Minute)
		if got := left(); got != "a b kept " {
			t.Errorf("with enough room %s is left", got)
		}
		// 15 % left; down to 20 are 5 MiB.
		r.world.locked(func() { r.world.usage["disk left"] = 15 << 20 })
		r.after(5 * time.Minute)
		if got := left(); got != "b kept " {
			t.Errorf("%s is left", got)
		}
		r.world.locked(func() { r.world.usage["disk left"] = 1 << 20 })
		r.after(10 * time.Minute)
		if got := left(); got != "kept " {
			t.Errorf("%s is left", got)
		}
		text := "Insufficient free disk space on the node's image filesystem (99% of 100.0 MiB used). Failed to free sufficient space by deleting unused images (freed 6291456 bytes)."
		r.saw("node", "Warning FreeDiskSpaceFailed  "+text)
		r.saw("node", "Warning ImageGCFailed  Insufficient free disk space on the node's image filesystem (99% of 100.0 MiB used). Failed to free sufficient space by deleting unused images (freed 0 bytes).")
	})
}
