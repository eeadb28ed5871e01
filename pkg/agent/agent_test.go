package agent_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clienttesting "k8s.io/client-go/testing"

	"github.com/carob-project/carob/pkg/agent"
	"github.com/carob-project/carob/pkg/pod"
)

func TestCreateToRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		defer func() { r.stop() }()
		<-r.agent.Ready()
		r.after(time.Second)
		r.statusWrites()
		p := newPod("web", "app", "side")
		p.Spec.Containers[1].Image = "other"
		r.create(p)
		r.after(100 * time.Millisecond)
		r.wantRunning("web")
		r.after(time.Minute)
		got := r.get("web")
		if got.Status.PodIP != "10.0.0.1" || got.Status.HostIP != "192.0.2.1" || got.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("status %+v", got.Status)
		}
		if n := r.statusWrites(); n > 2 {
			t.Errorf("%d status writes to become Running", n)
		}
		r.saw("web", `Normal Pulled spec.containers{app} Container image "img" already present on machine and can be accessed by the pod`)
		r.saw("web", `Normal Pulling spec.containers{side} Pulling image "other"`)
		r.saw("web", `Normal Pulled spec.containers{side} Successfully pulled image "other" in 10ms (10ms including waiting). Image size: 42 bytes.`)
		r.saw("web", `Normal Created spec.containers{app} Container created`)
		r.saw("web", `Normal Started spec.containers{side} Container started`)
		calls := r.world.count("create") + r.world.count("prepare")
		r.after(6 * time.Hour)
		if n := r.statusWrites(); n != 0 {
			t.Errorf("%d status writes while nothing happened", n)
		}
		if n := r.world.count("create") + r.world.count("prepare"); n != calls {
			t.Errorf("%d steps while nothing happened", n-calls)
		}
	})
}

func TestCrashLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.world.life = func(pod.Attempt) (time.Duration, int) { return time.Second, 3 }
		r.start()
		defer func() { r.stop() }()
		r.create(newPod("web", "app"))
		r.after(15 * time.Minute)
		starts := r.world.starts
		if len(starts) < 7 {
			t.Fatalf("%d starts in 15 minutes", len(starts))
		}
		want := []time.Duration{0, 10, 20, 40, 80, 160, 300}
		for i := range starts[1:] {
			got := starts[i+1].Sub(starts[i]) - time.Second
			if i < len(want) && (got < want[i]*time.Second || got > want[i]*time.Second+time.Second) {
				t.Errorf("pause %d is %v, want %ds", i, got, want[i])
			}
		}
		cs := r.get("web").Status.ContainerStatuses[0]
		if cs.State.Waiting == nil || cs.State.Waiting.Reason != pod.ReasonCrashLoopBackOff {
			t.Errorf("state %+v", cs.State)
		}
		if int(cs.RestartCount) != len(starts)-1 {
			t.Errorf("restartCount %d after %d starts", cs.RestartCount, len(starts))
		}
		last := cs.LastTerminationState.Terminated
		if last == nil || last.ExitCode != 3 || !strings.HasPrefix(last.Message, "bye from app") {
			t.Errorf("last state %+v", cs.LastTerminationState)
		}
		if len(r.world.remains("uid-web")) > 4 {
			t.Errorf("old attempts pile up: %v", r.world.remains("uid-web"))
		}
		r.saw("web", "Warning BackOff spec.containers{app} Back-off restarting failed container app")
	})
}

func TestDeleteWithGrace(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.world.deaf = deaf
			r.start()
			defer func() { r.stop() }()
			r.create(newPod("web", "app", "side"))
			r.after(time.Second)
			r.wantRunning("web")
			r.markDeleted("web", 20)
			r.after(10 * time.Second)
			if deaf == r.gone("web") {
				t.Errorf("after 10 s of 20: gone %t, deaf %t", r.gone("web"), deaf)
			}
			r.after(15 * time.Second)
			if !r.gone("web") {
				t.Error("the object is still there")
			}
			r.wantNothing("uid-web")
			if n := r.world.count("signal killed"); (n > 0) != deaf {
				t.Errorf("%d kills, deaf %t", n, deaf)
			}
			if _, _, ok := r.agent.FindPod("default", "web"); ok {
				t.Error("the agent still has a worker for the pod")
			}
			r.saw("web", "Normal Killing spec.containers{app} Stopping container app")
		})
	}
}

func TestRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		defer func() { r.stop() }()
		first, second := newPod("first", "app"), newPod("second", "app")
		for _, p := range []*corev1.Pod{first, second} {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80, ContainerPort: 80, Protocol: corev1.ProtocolTCP}}
		}
		r.create(first)
		r.after(time.Second)
		r.create(second)
		r.after(10 * time.Second)
		r.wantRunning("first")
		st := r.get("second").Status
		if st.Phase != corev1.PodFailed || st.Reason != "NodePorts" {
			t.Errorf("status %+v", st)
		}
		r.wantNothing("uid-second")
		// An agent that begins anew keeps to what was decided.
		r.stop()
		r.start()
		r.after(10 * time.Second)
		r.wantRunning("first")
		if st := r.get("second").Status; st.Phase != corev1.PodFailed {
			t.Errorf("status %+v", st)
		}
	})
}

func TestCompletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.world.life = func(pod.Attempt) (time.Duration, int) { return time.Second, 0 }
		r.start()
		defer func() { r.stop() }()
		p := newPod("job", "app")
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		r.create(p)
		r.after(10 * time.Second)
		if st := r.get("job").Status; st.Phase != corev1.PodSucceeded {
			t.Fatalf("status %+v", st)
		}
		if left := r.world.remains("uid-job"); slices.Contains(left, "sandbox") {
			t.Errorf("a completed pod keeps %v", left)
		}
		r.statusWrites()
		r.stop()
		r.start()
		r.after(time.Hour)
		if n := r.statusWrites(); n != 0 {
			t.Errorf("%d writes about a pod that has ended", n)
		}
	})
}

func TestFinalizerKeepsObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var deletes atomic.Int32
		r.client.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtimeObject, error) {
			deletes.Add(1)
			return true, nil, nil
		})
		r.start()
		defer func() { r.stop() }()
		r.create(newPod("web", "app"))
		r.after(time.Second)
		r.markDeleted("web", 1)
		r.after(time.Hour)
		if n := deletes.Load(); n != 1 {
			t.Errorf("%d deletions of an object that a finalizer keeps", n)
		}
		r.wantNothing("uid-web")
	})
}

// Pods that take more of the disk than they may end, with a second of grace and
// the words that Kubernetes has; one that the system depends on stays.
func TestEvictedForSize(t *testing.T) {
	big := int32(2_000_000_000)
	for name, tc := range map[string]struct {
		uses    string
		limit   string
		prio    *int32
		message string
	}{
		"volume":   {uses: "cache", message: `Usage of EmptyDir volume "cache" exceeds the limit "1Mi". `},
		"layer":    {uses: "layer app", limit: "1Mi", message: "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "},
		"logs":     {uses: "logs app", limit: "1Mi", message: "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "},
		"critical": {uses: "cache", prio: &big},
		"within":   {uses: "layer app", limit: "3Mi"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.world.usage[tc.uses] = 2 << 20
				r.start()
				defer func() { r.stop() }()
				p := newPod("web", "app")
				p.Spec.Priority = tc.prio
				p.Spec.Volumes = []corev1.Volume{{Name: "cache", VolumeSource: corev1.VolumeSource{
					EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: quantity("1Mi")},
				}}}
				if tc.limit != "" {
					p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: *quantity(tc.limit)}
				}
				r.create(p)
				r.world.locked(func() { r.world.deaf = true })
				r.after(15 * time.Second)
				st := r.get("web").Status
				if tc.message == "" {
					r.wantRunning("web")
					return
				}
				if st.Phase != corev1.PodFailed || st.Reason != pod.ReasonEvicted || st.Message != tc.message || len(r.world.live("uid-web")) != 0 {
					t.Errorf("status %+v", st)
				}
				r.saw("web", "Warning Evicted  "+tc.message)
			})
		})
	}
}

func TestPullFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		clear(r.world.images)
		r.world.faults["pull"] = func() error { return context.DeadlineExceeded }
		r.start()
		defer func() { r.stop() }()
		r.create(newPod("web", "app"))
		r.after(2 * time.Second)
		w := r.get("web").Status.ContainerStatuses[0].State.Waiting
		if w == nil || w.Reason != pod.ReasonErrImagePull {
			t.Errorf("waiting %+v", w)
		}
		r.after(6 * time.Second)
		w = r.get("web").Status.ContainerStatuses[0].State.Waiting
		if w == nil || w.Reason != pod.ReasonImagePullBackOff {
			t.Errorf("waiting %+v", w)
		}
		r.world.locked(func() { delete(r.world.faults, "pull") })
		r.after(20 * time.Second)
		r.wantRunning("web")
	})
}

func TestManyPodsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		clear(r.world.images)
		r.start()
		defer func() { r.stop() }()
		for i := range 50 {
			r.create(newPod("p"+string(rune('a'+i%26))+string(rune('a'+i/26)), "app"))
		}
		r.after(10 * time.Second)
		for i := range 50 {
			r.wantRunning("p" + string(rune('a'+i%26)) + string(rune('a'+i/26)))
		}
	})
}

func TestEventsReachTheAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.recorder = nil
		r.start()
		defer func() { r.stop() }()
		r.create(newPod("web", "app"))
		r.after(10 * time.Second)
		l, err := r.client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(l.Items) == 0 {
			t.Fatalf("%d events, %v", len(l.Items), err)
		}
		for _, e := range l.Items {
			if e.InvolvedObject.Kind == "Node" {
				continue
			}
			if e.ReportingController != agent.Component || e.InvolvedObject.UID != "uid-web" || e.Source.Host != "node" {
				t.Errorf("event %+v", e)
			}
		}
	})
}
