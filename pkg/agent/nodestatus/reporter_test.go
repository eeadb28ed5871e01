package nodestatus

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

type fixed Facts

func (f fixed) Facts(context.Context) (Facts, error) { return Facts(f), nil }

// writes counts what a client wrote, and forgets it.
func writes(c *fake.Clientset) int {
	n := 0
	for _, a := range c.Actions() {
		switch a.(type) {
		case clienttesting.CreateAction, clienttesting.UpdateAction, clienttesting.PatchAction:
			n++
		}
	}
	c.ClearActions()
	return n
}

// registered runs a Reporter, whose runtime may break, and returns when its Node
// is registered. The channel has what Run returns.
func registered(ctx context.Context, client *fake.Clientset, broken *atomic.Bool) (done chan error) {
	r := New(Options{
		Client: client, Identity: Identity{Name: "n", MaxPods: 500}, Source: fixed(healthyFacts()),
		Checks: []Check{{ReasonRuntimeNotReady, func(context.Context) error {
			if broken.Load() {
				return errors.New("containerd does not answer")
			}
			return nil
		}}},
	})
	done = make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	<-r.Registered()
	return done
}

func TestReporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		client := fake.NewClientset()
		var broken atomic.Bool
		done := registered(ctx, client, &broken)
		synctest.Wait()
		if n := writes(client); n != 3 { // node, status, lease
			t.Errorf("%d writes to register, want 3", n)
		}
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		if n := writes(client); n != 0 {
			t.Errorf("an idle node wrote %d times in nine minutes", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := writes(client); n > 14 {
			t.Errorf("an idle node wrote %d times in an hour", n)
		}
		ready := func() corev1.NodeCondition {
			t.Helper()
			n, err := client.CoreV1().Nodes().Get(ctx, "n", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return conditionOf(n.Status, corev1.NodeReady)
		}
		broken.Store(true)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if c := ready(); c.Status != corev1.ConditionFalse || c.Message != "containerd does not answer" {
			t.Errorf("condition %+v", c)
		}
		broken.Store(false)
		if err := client.CoreV1().Nodes().Delete(ctx, "n", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if c := ready(); c.Status != corev1.ConditionTrue {
			t.Errorf("condition after the node was deleted: %+v", c)
		}
		lease, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, "n", metav1.GetOptions{})
		if err != nil || *lease.Spec.LeaseDurationSeconds != 2400 || *lease.Spec.HolderIdentity != "n" {
			t.Errorf("lease %+v, %v", lease, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestHeartbeatsComeTogether watches when a node that rests writes, with a
// change of its status at times: every lease is renewed with a status, and for
// no longer than a heartbeat and an interval a lease is not renewed.
func TestHeartbeatsComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		client := fake.NewClientset()
		var lastStatus, lastLease time.Time
		var leases int
		client.PrependReactor("update", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
			switch a.GetResource().Resource {
			case "nodes":
				lastStatus = time.Now()
			case "leases":
				if since := time.Since(lastStatus); since > 100*time.Millisecond {
					t.Errorf("a lease was renewed %s after a status", since)
				}
				if !lastLease.IsZero() && time.Since(lastLease) > 10*time.Minute+10*time.Second {
					t.Errorf("a lease was not renewed for %s", time.Since(lastLease))
				}
				lastLease = time.Now()
				leases++
			}
			return false, nil, nil
		})
		var broken atomic.Bool
		done := registered(ctx, client, &broken)
		for i := range 20 {
			time.Sleep(time.Duration(97*(i+1)) * time.Second)
			broken.Store(i%2 == 0)
		}
		if leases < 40 {
			t.Errorf("%d leases in more than five hours", leases)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
