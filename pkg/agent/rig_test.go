package agent_test

import (
	"context"
	"slices"
	"strings"
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
	// options may change those of the next agent.
	options func(*agent.Options)
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
		Volumes: volumes{w}, VolumeView: volumes{w}, Disk: volumes{w}, Messages: volumes{w},
		Logs: logs{w}, LogReader: logs{w}, Machine: machine{w}, AgentVersion: "v0.1.0",
		Resizer: w, Groups: groups{w},
		Collectors: []agent.Collector{sandboxes{w}}, Exec: w,
	}
	if r.recorder != nil {
		o.Recorder = r.recorder
	}
	if r.options != nil {
		r.options(&o)
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
	p.Generation++
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
