package loop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

var podsResource = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

// cluster is a fake API server that serves bindings.
type cluster struct {
	*fake.Clientset
	t *testing.T

	mu sync.Mutex
	// bindError, if set, may fail a bind; late says that the binding takes
	// place all the same.
	bindError func(p *corev1.Pod, node string) (err error, late bool)
	patches   int
}

func newCluster(t *testing.T, objects ...runtime.Object) *cluster {
	c := &cluster{Clientset: fake.NewClientset(objects...), t: t}
	c.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		create, ok := a.(clienttesting.CreateAction)
		if !ok || a.GetSubresource() != "binding" {
			return false, nil, nil
		}
		binding := create.GetObject().(*corev1.Binding)
		return true, nil, c.bind(binding)
	})
	c.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.patches++
		return false, nil, nil
	})
	return c
}

func (c *cluster) bind(b *corev1.Binding) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	obj, err := c.Tracker().Get(podsResource, b.Namespace, b.Name)
	if err != nil {
		return err
	}
	p := obj.(*corev1.Pod).DeepCopy()
	if p.Spec.NodeName != "" {
		return apierrors.NewConflict(schema.GroupResource{Resource: "pods/binding"}, b.Name, errors.New("already bound"))
	}
	if c.bindError != nil {
		if err, late := c.bindError(p, b.Target.Name); err != nil && !late {
			return err
		} else if err != nil {
			defer func() { c.setNode(p, b.Target.Name) }()
			return err
		}
	}
	return c.setNode(p, b.Target.Name)
}

func (c *cluster) setNode(p *corev1.Pod, node string) error {
	p.Spec.NodeName = node
	return c.Tracker().Update(podsResource, p, p.Namespace)
}

// run starts a scheduler and waits until it is ready.
func (c *cluster) run() *Scheduler {
	s, err := New(Options{Client: c})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
	<-s.Ready()
	return s
}

func (c *cluster) add(objects ...runtime.Object) {
	c.t.Helper()
	for _, o := range objects {
		if err := c.Tracker().Add(o); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *cluster) pod(name string) *corev1.Pod {
	c.t.Helper()
	p, err := c.CoreV1().Pods("default").Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func (c *cluster) remove(name string) {
	c.t.Helper()
	if err := c.Tracker().Delete(podsResource, "default", name); err != nil {
		c.t.Fatal(err)
	}
}

// told returns the events about a pod as "reason: message".
func (c *cluster) told(name string) []string {
	c.t.Helper()
	list, err := c.CoreV1().Events("default").List(c.t.Context(), metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	var out []string
	for _, e := range list.Items {
		if e.InvolvedObject.Name == name && e.Source.Component == Name {
			out = append(out, e.Reason+": "+e.Message)
		}
	}
	return out
}

func node(name, cpu string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("1000")},
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

func pod(name, cpu string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.Now()},
		Spec: corev1.PodSpec{
			SchedulerName: Name,
			Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu)},
			}}},
		},
	}
}

func TestBindsAndTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, node("a", "1"))
		c.run()
		began := time.Now()
		c.add(pod("p", "500m"))
		synctest.Wait()
		if got := c.pod("p").Spec.NodeName; got != "a" {
			t.Errorf("on node %q", got)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("waited %v", took)
		}
		if got := c.told("p"); len(got) != 1 || got[0] != "Scheduled: Successfully assigned default/p to a" {
			t.Errorf("events %q", got)
		}
	})
}

func TestTellsWhyNotAndRetriesOnChange(t *testing.T) {
	const why = "0/1 nodes are available: 1 Insufficient cpu. " +
		"preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
	for name, change := range map[string]func(*cluster){
		"a new node":        func(c *cluster) { c.add(node("b", "1")) },
		"a deleted pod":     func(c *cluster) { c.remove("old") },
		"a terminated pod":  func(c *cluster) { c.phase("old", corev1.PodSucceeded) },
		"a node that grows": func(c *cluster) { c.replaceNode(node("a", "3")) },
		"a smaller pod":     func(c *cluster) { c.asks("old", "500m") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				old := pod("old", "600m")
				old.Spec.NodeName = "a"
				c := newCluster(t, node("a", "1"), old)
				c.run()
				c.add(pod("p", "500m"))
				synctest.Wait()
				cond := conditionOf(c.pod("p"))
				if cond == nil || cond.Status != corev1.ConditionFalse || cond.Reason != "Unschedulable" || cond.Message != why {
					t.Fatalf("condition %+v", cond)
				}
				if got := c.told("p"); len(got) != 1 || got[0] != "FailedScheduling: "+why {
					t.Errorf("events %q", got)
				}
				began := time.Now()
				change(c)
				synctest.Wait()
				if got := c.pod("p").Spec.NodeName; got == "" {
					t.Error("still without a node")
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("waited %v", took)
				}
			})
		})
	}
}

func (c *cluster) phase(name string, phase corev1.PodPhase) {
	p := c.pod(name).DeepCopy()
	p.Status.Phase = phase
	if err := c.Tracker().Update(podsResource, p, p.Namespace); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) asks(name, cpu string) {
	p := c.pod(name).DeepCopy()
	p.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse(cpu)
	if err := c.Tracker().Update(podsResource, p, p.Namespace); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) replaceNode(n *corev1.Node) {
	if err := c.Tracker().Update(schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, n, ""); err != nil {
		c.t.Fatal(err)
	}
}

// A pod that stays without a node costs no writes: neither retries nor changes
// that do not help write again what was told.
func TestUnschedulableIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, node("a", "1"))
		c.run()
		c.add(pod("p", "2"))
		synctest.Wait()
		for i := range 20 {
			n := node("a", "1")
			n.Labels = map[string]string{"round": fmt.Sprint(i)}
			c.replaceNode(n)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if c.patches != 1 || len(c.told("p")) != 1 {
			t.Errorf("%d patches, events %q", c.patches, c.told("p"))
		}
		time.Sleep(20 * time.Minute)
		if c.patches != 1 {
			t.Errorf("%d patches", c.patches)
		}
	})
}

func TestLeavesOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := pod("other", "100m")
		other.Spec.SchedulerName = "somebody"
		gated := pod("gated", "100m")
		gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "x"}}
		deleted := pod("deleted", "100m")
		deleted.DeletionTimestamp = new(metav1.Now())
		deleted.Finalizers = []string{"example.com/x"}
		c := newCluster(t, node("a", "1"), other, gated, deleted)
		c.run()
		synctest.Wait()
		for _, name := range []string{"other", "gated", "deleted"} {
			if p := c.pod(name); p.Spec.NodeName != "" || len(c.told(name)) > 0 {
				t.Errorf("%s: node %q, events %q", name, p.Spec.NodeName, c.told(name))
			}
		}
		gated = c.pod("gated").DeepCopy()
		gated.Spec.SchedulingGates = nil
		if err := c.Tracker().Update(podsResource, gated, "default"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if c.pod("gated").Spec.NodeName != "a" {
			t.Error("not scheduled after its gate was removed")
		}
	})
}

// A bind whose answer is lost must not free what the pod may have taken.
func TestLostAnswerDoesNotOvercommit(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%v", late), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, node("a", "1"))
				failures := 0
				c.bindError = func(p *corev1.Pod, _ string) (error, bool) {
					if p.Name == "first" && failures < 3 {
						failures++
						return errors.New("connection reset"), late
					}
					return nil, false
				}
				c.run()
				c.add(pod("first", "600m"))
				synctest.Wait()
				c.add(pod("second", "600m"))
				time.Sleep(10 * time.Second)
				if got := c.pod("first").Spec.NodeName; got != "a" {
					t.Errorf("first on %q", got)
				}
				if got := c.pod("second").Spec.NodeName; got != "" {
					t.Errorf("second on %q", got)
				}
			})
		})
	}
}

func TestRefusedBindFreesAndTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, node("a", "1"))
		c.bindError = func(p *corev1.Pod, _ string) (error, bool) {
			if p.Name == "first" {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, p.Name, errors.New("no")), false
			}
			return nil, false
		}
		c.run()
		c.add(pod("first", "600m"))
		synctest.Wait()
		c.add(pod("second", "600m"))
		time.Sleep(time.Minute)
		if got := c.pod("second").Spec.NodeName; got != "a" {
			t.Errorf("second on %q", got)
		}
		if got := strings.Join(c.told("first"), "\n"); !strings.Contains(got, "FailedScheduling: Binding rejected: ") {
			t.Errorf("events %q", got)
		}
	})
}

// Many pods at once: all that fit are bound, in order of age, none too many.
func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, node("a", "6"), node("b", "9"))
		c.run()
		for i := range 180 {
			c.add(pod(fmt.Sprintf("p%03d", i), "100m"))
			if i%30 == 0 {
				synctest.Wait() // the fake's watch has a small buffer
			}
		}
		synctest.Wait()
		on := map[string]int{}
		for i := range 180 {
			on[c.pod(fmt.Sprintf("p%03d", i)).Spec.NodeName]++
		}
		if on["a"] != 60 || on["b"] != 90 || on[""] != 30 {
			t.Errorf("placed %v", on)
		}
	})
}

// A pod that was replaced by a namesake while the watch was down gives back
// what it had.
func TestReplacedPodIsForgotten(t *testing.T) {
	s, err := New(Options{Client: fake.NewClientset()})
	if err != nil {
		t.Fatal(err)
	}
	old, namesake := pod("p", "1"), pod("p", "1")
	old.Spec.NodeName, namesake.UID = "a", "another"
	s.podHandler().OnAdd(old, false)
	s.podHandler().OnUpdate(old, namesake)
	if _, counted := s.snapshot.RemovePod(old.UID); counted {
		t.Error("the old pod still counts")
	}
	if s.queue.items[namesake.UID] == nil {
		t.Error("the new pod is not waiting")
	}
}
