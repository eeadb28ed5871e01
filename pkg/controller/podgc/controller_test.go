package podgc

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

func pod(name, node string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: phase},
	}
}

func node(name string) *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }

// start runs the controller over a fake API server.
func start(t *testing.T, threshold int, objects ...runtime.Object) *fake.Clientset {
	t.Helper()
	client := fake.NewClientset(objects...)
	factory := informers.NewSharedInformerFactory(client, 0)
	c, err := New(Options{Client: client, Informers: factory, Threshold: threshold})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
	<-c.Ready()
	return client
}

func names(t *testing.T, client *fake.Clientset) []string {
	t.Helper()
	list, err := client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range list.Items {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

func expect(t *testing.T, client *fake.Clientset, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := names(t, client); !slices.Equal(got, want) {
		t.Errorf("at %v: pods %q, want %q", time.Now(), got, want)
	}
}

func TestMissingNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := start(t, 0, node("a"), pod("here", "a", corev1.PodRunning), pod("lost", "gone", corev1.PodRunning), pod("new", "", corev1.PodPending))
		time.Sleep(Quarantine - time.Second)
		expect(t, client, "here", "lost", "new")
		time.Sleep(2 * time.Second)
		expect(t, client, "here", "new")

		// A node that comes back in time keeps its pods, and the next time
		// it goes it has its whole quarantine again.
		remove := func() {
			if err := client.CoreV1().Nodes().Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		remove()
		time.Sleep(Quarantine - time.Second)
		if err := client.Tracker().Add(node("a")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		remove()
		time.Sleep(Quarantine - time.Second)
		expect(t, client, "here", "new")
		time.Sleep(2 * time.Second)
		expect(t, client, "new")
	})
}

func TestAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone, bound := pod("gone", "", corev1.PodPending), pod("bound", "a", corev1.PodRunning)
		gone.DeletionTimestamp, bound.DeletionTimestamp = new(metav1.Now()), new(metav1.Now())
		client := start(t, 0, node("a"), gone, bound, pod("waits", "", corev1.PodPending))
		expect(t, client, "bound", "waits")
	})
}

func TestTerminated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := []runtime.Object{node("a"), pod("runs", "a", corev1.PodRunning)}
		for i := range 5 {
			p := pod(fmt.Sprint("p", i), "a", corev1.PodSucceeded)
			p.CreationTimestamp = metav1.NewTime(time.Unix(int64(1000+i), 0))
			objects = append(objects, p)
		}
		thrown := pod("thrown", "a", corev1.PodFailed)
		thrown.Status.Reason = reasonEvicted
		thrown.CreationTimestamp = metav1.NewTime(time.Unix(5000, 0))
		client := start(t, 3, append(objects, thrown)...)
		time.Sleep(2 * gather)
		expect(t, client, "p2", "p3", "p4", "runs")
	})
}

func TestDisrupted(t *testing.T) {
	status, changed := disrupted(pod("p", "gone", corev1.PodRunning), metav1.Now())
	if !changed || status.Phase != corev1.PodFailed || len(status.Conditions) != 1 || status.Conditions[0].Type != corev1.DisruptionTarget {
		t.Errorf("%v %+v", changed, status)
	}
	if _, changed := disrupted(pod("p", "gone", corev1.PodSucceeded), metav1.Now()); changed {
		t.Error("a terminal phase changed")
	}
}
