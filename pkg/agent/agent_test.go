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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/carob-project/carob/pkg/agent"
	"github.com/carob-project/carob/pkg/pod"
)

// rig is an agent over a world and an API, both of which outlive it.
type rig struct {
	t      *testing.T
	world  *world
	client *fake.Clientset
	agent  *agent.Agent
	stop   func()
	// recorder may be set to nil: events go to the API then.
	recorder *recorder
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return &rig{
		t: t, world: newWorld(), client: fake.NewClientset(),
		recorder: &recorder{events: map[string][]string{}},
	}
}

// start runs a new agent; the one before must have been stopped.
func (r *rig) start() {
	r.t.Helper()
	w := r.world
	o := agent.Options{
		Client: r.client, NodeName: "node", NodeIPs: []string{"192.0.2.1"},
		Runtime: w, View: w, Images: w, Sandboxes: sandboxes{w}, SandboxView: sandboxes{w},
		Volumes: volumes{w}, VolumeView: volumes{w}, VolumeUsage: volumes{w}, Messages: volumes{w},
		Logs: logs{w}, LogReader: logs{w}, Machine: machine{}, AgentVersion: "v0.1.0",
		Collectors: []agent.Collector{sandboxes{w}},
	}
	if r.recorder != nil {
		o.Recorder = r.recorder
	}
	a, err := agent.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	r.agent = a
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
		w.locked(func() { clear(w.copying) }) // a dead agent copies nothing
	}
}

// after lets time pass and everything settle.
func (r *rig) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func newPod(name string, containers ...string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID("uid-" + name),
			CreationTimestamp: metav1.NewTime(time.Now()),
		},
		Spec: corev1.PodSpec{NodeName: "node", RestartPolicy: corev1.RestartPolicyAlways},
	}
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: c, Image: "img", ImagePullPolicy: corev1.PullIfNotPresent,
		})
	}
	return p
}

func (r *rig) create(p *corev1.Pod) {
	r.t.Helper()
	if _, err := r.client.CoreV1().Pods(p.Namespace).Create(context.Background(), p, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) get(name string) *corev1.Pod {
	r.t.Helper()
	p, err := r.client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) gone(name string) bool {
	_, err := r.client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
	return apierrors.IsNotFound(err)
}

// markDeleted does what a graceful deletion does to the object.
func (r *rig) markDeleted(name string, grace int64) {
	r.t.Helper()
	p := r.get(name)
	at := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
	if _, err := r.client.CoreV1().Pods(p.Namespace).Update(context.Background(), p, metav1.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

// statusWrites counts the writes of pod statuses and forgets them.
func (r *rig) statusWrites() int {
	n := 0
	for _, a := range r.client.Actions() {
		if p, ok := a.(clienttesting.PatchAction); ok && p.GetResource().Resource == "pods" {
			n++
		}
	}
	r.client.ClearActions()
	return n
}

// saw says whether an event about the pod begins so.
func (r *rig) saw(pod, event string) {
	r.t.Helper()
	all := r.recorder.of(pod)
	if !slices.ContainsFunc(all, func(e string) bool { return strings.HasPrefix(e, event) }) {
		r.t.Errorf("no event %q in %q", event, all)
	}
}

func (r *rig) wantRunning(name string) {
	r.t.Helper()
	p := r.get(name)
	if p.Status.Phase != corev1.PodRunning {
		r.t.Errorf("phase %s, statuses %+v", p.Status.Phase, p.Status.ContainerStatuses)
	}
	if n := len(r.world.live(p.UID)); n != len(p.Spec.Containers) {
		r.t.Errorf("%d live attempts of %d containers", n, len(p.Spec.Containers))
	}
}

func (r *rig) wantNothing(uid types.UID) {
	r.t.Helper()
	if left := r.world.remains(uid); len(left) > 0 {
		r.t.Errorf("left behind: %v", left)
	}
}

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
		r.saw("web", `Normal Pulled spec.containers{app} Container image "img" already present on machine`)
		r.saw("web", `Normal Pulling spec.containers{side} Pulling image "other"`)
		r.saw("web", `Normal Pulled spec.containers{side} Successfully pulled image "other" in 10ms. Image size: 42 bytes.`)
		r.saw("web", `Normal Created spec.containers{app} Created container app`)
		r.saw("web", `Normal Started spec.containers{side} Started container side`)
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

func TestEvictedForSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.world.usage["cache"] = 2 << 20
		r.start()
		defer func() { r.stop() }()
		p := newPod("web", "app")
		p.Spec.Volumes = []corev1.Volume{{Name: "cache", VolumeSource: corev1.VolumeSource{
			EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: quantity("1Mi")},
		}}}
		r.create(p)
		r.after(2 * time.Minute)
		st := r.get("web").Status
		if st.Phase != corev1.PodFailed || st.Reason != pod.ReasonEvicted || len(r.world.live("uid-web")) != 0 {
			t.Errorf("status %+v", st)
		}
	})
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
		if n := r.world.count("pull"); n != 1 {
			t.Errorf("one image was pulled %d times", n)
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
			if e.ReportingController != agent.Component || e.InvolvedObject.UID != "uid-web" || e.Source.Host != "node" {
				t.Errorf("event %+v", e)
			}
		}
	})
}
