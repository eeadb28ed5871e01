package nodetaint

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

func node(unschedulable bool, taints []corev1.Taint, conditions ...corev1.NodeCondition) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	n.Spec.Unschedulable, n.Spec.Taints, n.Status.Conditions = unschedulable, taints, conditions
	return n
}

func is(t corev1.NodeConditionType, s corev1.ConditionStatus) corev1.NodeCondition {
	return corev1.NodeCondition{Type: t, Status: s}
}

func noSchedule(key string) corev1.Taint {
	return corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule}
}

func TestTaints(t *testing.T) {
	foreign := corev1.Taint{Key: "team", Value: "a", Effect: corev1.TaintEffectNoSchedule}
	evicts := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute}
	for name, tc := range map[string]struct {
		node *corev1.Node
		want []corev1.Taint
	}{
		"healthy":    {node(false, nil, is(corev1.NodeReady, corev1.ConditionTrue), is(corev1.NodeDiskPressure, corev1.ConditionFalse)), nil},
		"new":        {node(false, nil), nil},
		"not ready":  {node(false, nil, is(corev1.NodeReady, corev1.ConditionFalse)), []corev1.Taint{noSchedule("node.kubernetes.io/not-ready")}},
		"silent":     {node(false, nil, is(corev1.NodeReady, corev1.ConditionUnknown)), []corev1.Taint{noSchedule("node.kubernetes.io/unreachable")}},
		"memory":     {node(false, nil, is(corev1.NodeMemoryPressure, corev1.ConditionTrue)), []corev1.Taint{noSchedule("node.kubernetes.io/memory-pressure")}},
		"disk":       {node(false, nil, is(corev1.NodeDiskPressure, corev1.ConditionTrue)), []corev1.Taint{noSchedule("node.kubernetes.io/disk-pressure")}},
		"pids":       {node(false, nil, is(corev1.NodePIDPressure, corev1.ConditionTrue)), []corev1.Taint{noSchedule("node.kubernetes.io/pid-pressure")}},
		"cordoned":   {node(true, []corev1.Taint{foreign}), []corev1.Taint{foreign, noSchedule("node.kubernetes.io/unschedulable")}},
		"uncordoned": {node(false, []corev1.Taint{noSchedule("node.kubernetes.io/unschedulable"), foreign}), []corev1.Taint{foreign}},
		"over":       {node(false, []corev1.Taint{noSchedule("node.kubernetes.io/disk-pressure"), evicts}, is(corev1.NodeDiskPressure, corev1.ConditionFalse)), []corev1.Taint{evicts}},
	} {
		t.Run(name, func(t *testing.T) {
			got, changed := Taints(tc.node)
			if !slices.Equal(got, tc.want) || changed == slices.Equal(tc.node.Spec.Taints, tc.want) {
				t.Fatalf("%v, changed %v, want %v", got, changed, tc.want)
			}
			tc.node.Spec.Taints = got
			if _, again := Taints(tc.node); again {
				t.Error("there is no end of it")
			}
		})
	}
}

func TestController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(node(false, nil, is(corev1.NodeMemoryPressure, corev1.ConditionTrue)))
		factory := informers.NewSharedInformerFactory(client, 0)
		c, err := New(Options{Client: client, Informers: factory})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		factory.Start(ctx.Done())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		<-c.Ready()
		taints := func() []corev1.Taint {
			time.Sleep(time.Second)
			synctest.Wait()
			n, err := client.CoreV1().Nodes().Get(ctx, "n", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return n.Spec.Taints
		}
		if got := taints(); len(got) != 1 || got[0] != noSchedule("node.kubernetes.io/memory-pressure") {
			t.Errorf("under pressure: %v", got)
		}
		n, _ := client.CoreV1().Nodes().Get(ctx, "n", metav1.GetOptions{})
		n.Status.Conditions[0].Status = corev1.ConditionFalse
		if _, err := client.CoreV1().Nodes().Update(ctx, n, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := taints(); len(got) != 0 {
			t.Errorf("afterwards: %v", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
}
