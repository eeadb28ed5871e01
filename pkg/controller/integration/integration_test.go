package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestAgainstAPIServer(t *testing.T) {
	c := start(t)
	for name, f := range map[string]func(*testing.T, kubernetes.Interface){
		"ServiceAccount":        serviceAccount,
		"Binding":               binding,
		"Unschedulable":         unschedulable,
		"ManyPods":              manyPods,
		"Background":            background,
		"Foreground":            foreground,
		"Orphan":                orphan,
		"AbsentOwner":           absentOwner,
		"ForeignOwner":          foreignOwner,
		"Namespace":             namespaceDeletion,
		"NamespaceHeld":         namespaceHeld,
		"DeletedBeforeItsNode":  deletedBeforeItsNode,
		"NamespaceWaitsForPods": namespaceWaitsForPods,
	} {
		t.Run(name, func(t *testing.T) { f(t, c) })
	}
}

func serviceAccount(t *testing.T, c kubernetes.Interface) {
	for _, ns := range []string{"default", "kube-system"} {
		eventually(t, func() string {
			if _, err := c.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
				return err.Error()
			}
			return ""
		})
	}
}

// awaitBound watches the pod until it has a node; it returns when that was.
func awaitBound(t *testing.T, c kubernetes.Interface, name string) (*corev1.Pod, time.Time) {
	t.Helper()
	w, err := c.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	deadline := time.After(patience)
	for {
		select {
		case e := <-w.ResultChan():
			if p, ok := e.Object.(*corev1.Pod); ok && p.Spec.NodeName != "" {
				return p, time.Now()
			}
		case <-deadline:
			t.Fatalf("pod %s has no node", name)
		}
	}
}

func binding(t *testing.T, c kubernetes.Interface) {
	makeNode(t, c, "binding", "4")
	var took []time.Duration
	for i := range 20 {
		name := fmt.Sprintf("binding-%d", i)
		began := time.Now()
		makePod(t, c, podFor("binding", "default", name, "10m"))
		p, at := awaitBound(t, c, name)
		took = append(took, at.Sub(began))
		if p.Spec.NodeName != "binding" {
			t.Errorf("on %q", p.Spec.NodeName)
		}
		if i > 0 {
			continue
		}
		if !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue
		}) {
			t.Errorf("conditions %+v", p.Status.Conditions)
		}
	}
	slices.Sort(took)
	t.Logf("from create to bound, seen through a watch: median %v, worst %v", took[len(took)/2], took[len(took)-1])
	eventually(t, func() string {
		return told(t, c, "default", "binding-0", "Scheduled", "Successfully assigned default/binding-0 to binding")
	})
}

// told says "" when there is such an event.
func told(t *testing.T, c kubernetes.Interface, namespace, name, reason, message string) string {
	list, err := c.CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	if err != nil {
		return err.Error()
	}
	var got []string
	for _, e := range list.Items {
		if e.Reason == reason && strings.Contains(e.Message, message) {
			return ""
		}
		got = append(got, e.Reason+": "+e.Message)
	}
	return fmt.Sprintf("no event %s: %s in %q", reason, message, got)
}

func unschedulable(t *testing.T, c kubernetes.Interface) {
	makeNode(t, c, "small", "1")
	makePod(t, c, podFor("small", "default", "big", "2"))
	condition := func() corev1.PodCondition {
		p, err := c.CoreV1().Pods("default").Get(t.Context(), "big", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, cond := range p.Status.Conditions {
			if cond.Type == corev1.PodScheduled {
				return cond
			}
		}
		return corev1.PodCondition{}
	}
	eventually(t, func() string {
		if cond := condition(); cond.Reason != "Unschedulable" || !strings.Contains(cond.Message, "1 Insufficient cpu") {
			return fmt.Sprintf("%+v", cond)
		}
		return ""
	})
	eventually(t, func() string { return told(t, c, "default", "big", "FailedScheduling", "1 Insufficient cpu") })
	n, err := c.CoreV1().Nodes().Get(t.Context(), "small", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.Status.Allocatable[corev1.ResourceCPU] = *n.Status.Allocatable.Memory()
	began := time.Now()
	if _, err := c.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, at := awaitBound(t, c, "big")
	t.Logf("from the node's change to bound: %v", at.Sub(began))
}

func manyPods(t *testing.T, c kubernetes.Interface) {
	makeNode(t, c, "many", "100")
	const count = 500
	began := time.Now()
	var group errgroup.Group
	group.SetLimit(20)
	for i := range count {
		group.Go(func() error {
			_, err := c.CoreV1().Pods("default").Create(context.WithoutCancel(t.Context()), podFor("many", "default", fmt.Sprintf("many-%d", i), "10m"), metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	created := time.Since(began)
	eventually(t, func() string {
		list, err := c.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=many"})
		if err != nil || len(list.Items) < count {
			return fmt.Sprintf("%d bound (%v)", len(list.Items), err)
		}
		return ""
	})
	t.Logf("%d pods created in %v, bound after %v", count, created, time.Since(began))
}

func background(t *testing.T, c kubernetes.Interface) {
	owner := makeMap(t, c, "default", "bg-owner")
	other := makeMap(t, c, "default", "bg-other")
	child := makeMap(t, c, "default", "bg-child", owner)
	grandchild := makeMap(t, c, "default", "bg-grandchild", child)
	shared := makeMap(t, c, "default", "bg-shared", owner, other)
	began := time.Now()
	deleteMap(t, c, owner, metav1.DeletePropagationBackground)
	eventually(t, func() string { return mapGone(t, c, child) + mapGone(t, c, grandchild) })
	t.Logf("dependents gone after %v", time.Since(began))
	eventually(t, func() string {
		m, err := c.CoreV1().ConfigMaps("default").Get(t.Context(), shared.Name, metav1.GetOptions{})
		if err != nil || len(m.OwnerReferences) != 1 || m.OwnerReferences[0].UID != other.UID {
			return fmt.Sprintf("%v %+v", err, m.OwnerReferences)
		}
		return ""
	})
}

func foreground(t *testing.T, c kubernetes.Interface) {
	owner := makeMap(t, c, "default", "fg-owner")
	child := makeMap(t, c, "default", "fg-child", owner)
	grandchild := makeMap(t, c, "default", "fg-grandchild", child)
	hold(t, c, grandchild, `["example.com/hold"]`)
	deleteMap(t, c, owner, metav1.DeletePropagationForeground)
	eventually(t, func() string {
		m, err := c.CoreV1().ConfigMaps("default").Get(t.Context(), grandchild.Name, metav1.GetOptions{})
		if err != nil || m.DeletionTimestamp == nil {
			return fmt.Sprintf("grandchild: %v, deleted %v", err, m.DeletionTimestamp)
		}
		return ""
	})
	for _, m := range []*corev1.ConfigMap{owner, child} {
		if mapGone(t, c, m) == "" {
			t.Errorf("%s went before what it waits for", m.Name)
		}
	}
	hold(t, c, grandchild, "null")
	eventually(t, func() string { return mapGone(t, c, owner) + mapGone(t, c, child) + mapGone(t, c, grandchild) })
}

func orphan(t *testing.T, c kubernetes.Interface) {
	owner := makeMap(t, c, "default", "orphan-owner")
	child := makeMap(t, c, "default", "orphan-child", owner)
	awaitObserved(t, c)
	deleteMap(t, c, owner, metav1.DeletePropagationOrphan)
	eventually(t, func() string { return mapGone(t, c, owner) })
	awaitObserved(t, c)
	m, err := c.CoreV1().ConfigMaps("default").Get(t.Context(), child.Name, metav1.GetOptions{})
	if err != nil || len(m.OwnerReferences) > 0 || m.DeletionTimestamp != nil {
		t.Errorf("%v %+v", err, m)
	}
}

// awaitObserved returns when the collector has seen all ConfigMaps made so far:
// it has then deleted one that was made last.
func awaitObserved(t *testing.T, c kubernetes.Interface) {
	t.Helper()
	marker := makeMap(t, c, "default", fmt.Sprintf("marker-%d", time.Now().UnixNano()),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "nobody", UID: "nobody"}})
	eventually(t, func() string { return mapGone(t, c, marker) })
}

func absentOwner(t *testing.T, c kubernetes.Interface) {
	present := makeMap(t, c, "default", "present")
	impostor := present.DeepCopy()
	impostor.UID = "another"
	child := makeMap(t, c, "default", "absent-child", impostor)
	eventually(t, func() string { return mapGone(t, c, child) })
	if mapGone(t, c, present) == "" {
		t.Error("the namesake of an absent owner is gone")
	}
}

func foreignOwner(t *testing.T, c kubernetes.Interface) {
	owner := makeMap(t, c, "kube-public", "foreign-owner")
	awaitObserved(t, c)
	child := makeMap(t, c, "default", "foreign-child", owner)
	eventually(t, func() string { return mapGone(t, c, child) })
	eventually(t, func() string {
		return told(t, c, "default", child.Name, "OwnerRefInvalidNamespace", "does not exist in namespace")
	})
}

func namespaceDeletion(t *testing.T, c kubernetes.Interface) {
	makeNamespace(t, c, "doomed")
	for i := range 20 {
		makeMap(t, c, "doomed", fmt.Sprintf("m%d", i))
	}
	makePod(t, c, podFor("nowhere", "doomed", "pending", "1"))
	began := time.Now()
	if err := c.CoreV1().Namespaces().Delete(t.Context(), "doomed", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		_, err := c.CoreV1().Namespaces().Get(t.Context(), "doomed", metav1.GetOptions{})
		return gone(err)
	})
	t.Logf("namespace gone after %v", time.Since(began))
}

// namespaceCondition returns the message of a condition that is true.
func namespaceCondition(t *testing.T, c kubernetes.Interface, name string, kind corev1.NamespaceConditionType) string {
	t.Helper()
	ns, err := c.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, cond := range ns.Status.Conditions {
		if cond.Type == kind && cond.Status == corev1.ConditionTrue {
			return cond.Message
		}
	}
	return ""
}

func namespaceHeld(t *testing.T, c kubernetes.Interface) {
	makeNamespace(t, c, "held")
	m := makeMap(t, c, "held", "m")
	hold(t, c, m, `["example.com/hold"]`)
	if err := c.CoreV1().Namespaces().Delete(t.Context(), "held", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		got := namespaceCondition(t, c, "held", corev1.NamespaceFinalizersRemaining)
		if !strings.Contains(got, "example.com/hold in 1 resource instances") {
			return "condition " + got
		}
		return ""
	})
	hold(t, c, m, "null")
	eventually(t, func() string {
		_, err := c.CoreV1().Namespaces().Get(t.Context(), "held", metav1.GetOptions{})
		return gone(err)
	})
}

func namespaceWaitsForPods(t *testing.T, c kubernetes.Interface) {
	makeNode(t, c, "graceful", "4")
	makeNamespace(t, c, "running")
	m := makeMap(t, c, "running", "needed")
	p := podFor("graceful", "running", "p", "10m")
	p.Spec.NodeName = "graceful"
	p = makePod(t, c, p)
	if err := c.CoreV1().Namespaces().Delete(t.Context(), "running", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		got := namespaceCondition(t, c, "running", corev1.NamespaceContentRemaining)
		if !strings.Contains(got, "pods. has 1 resource instances") {
			return "condition " + got
		}
		return ""
	})
	if mapGone(t, c, m) == "" {
		t.Error("deleted what a pod may still need")
	}
	// The node's part: the pod has ended.
	err := c.CoreV1().Pods("running").Delete(t.Context(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	eventually(t, func() string {
		_, err := c.CoreV1().Namespaces().Get(t.Context(), "running", metav1.GetOptions{})
		return gone(err)
	})
	t.Logf("namespace gone %v after its last pod", time.Since(began))
}

func deletedBeforeItsNode(t *testing.T, c kubernetes.Interface) {
	makePod(t, c, podFor("nowhere", "default", "early", "1"))
	if err := c.CoreV1().Pods("default").Delete(t.Context(), "early", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		_, err := c.CoreV1().Pods("default").Get(t.Context(), "early", metav1.GetOptions{})
		return gone(err)
	})
}
