package integration

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

func daemonSet(t *testing.T, c kubernetes.Interface, ns string) {
	for _, name := range []string{"daemon-a", "daemon-b"} {
		makeNode(t, c, name, "4")
		t.Cleanup(func() { _ = c.CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}) })
	}
	mark := func(node, value string) {
		t.Helper()
		if _, err := c.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, patch(`{"metadata":{"labels":{"daemon":%s}}}`, value), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	mark("daemon-a", `"yes"`)
	sets := c.AppsV1().DaemonSets(ns)
	tpl := template("d", "i")
	tpl.Spec.NodeSelector = map[string]string{"daemon": "yes"}
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: appsv1.DaemonSetSpec{Selector: selector("d"), Template: tpl}}
	if _, err := sets.Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	settled := func(n, updated int32) func() string {
		return func() string {
			set, err := sets.Get(t.Context(), "d", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			s := set.Status
			if s.DesiredNumberScheduled != n || s.CurrentNumberScheduled != n || s.NumberReady != n || s.NumberAvailable != n ||
				s.UpdatedNumberScheduled != updated || s.NumberMisscheduled != 0 || s.NumberUnavailable != 0 || s.ObservedGeneration != set.Generation {
				return fmt.Sprintf("%+v", s)
			}
			return ""
		}
	}
	eventually(t, settled(1, 1))
	mark("daemon-b", `"yes"`)
	eventually(t, settled(2, 2))
	eventually(t, func() string { return told(t, c, ns, "d", "SuccessfulCreate", "Created pod: d-") })
	where := map[string]bool{}
	for _, p := range pods(t, c, ns) {
		where[p.Spec.NodeName] = true
		if p.Labels["controller-revision-hash"] == "" || p.Labels["pod-template-generation"] != "1" {
			t.Errorf("labels %v", p.Labels)
		}
	}
	if !where["daemon-a"] || !where["daemon-b"] || len(where) != 2 {
		t.Errorf("on %v", where)
	}
	quiet(t, func() string {
		set, err := sets.Get(t.Context(), "d", metav1.GetOptions{})
		return fmt.Sprint(set.ResourceVersion, err)
	})
	daemonRollout(t, c, ns, settled)
	// A node that no longer suits loses its pod.
	mark("daemon-b", "null")
	eventually(t, settled(1, 1))
	eventually(t, func() string {
		if n := len(pods(t, c, ns)); n != 1 {
			return fmt.Sprint(n, " pods")
		}
		return ""
	})
	if err := sets.Delete(t.Context(), "d", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if n := len(pods(t, c, ns)); n != 0 {
			return fmt.Sprint(n, " pods")
		}
		return ""
	})
}

func daemonRollout(t *testing.T, c kubernetes.Interface, ns string, settled func(n, updated int32) func() string) {
	t.Helper()
	sets := c.AppsV1().DaemonSets(ns)
	write := func(format string, a ...any) {
		t.Helper()
		if _, err := sets.Patch(t.Context(), "d", types.StrategicMergePatchType, patch(format, a...), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	image := func(want string) {
		t.Helper()
		for _, p := range pods(t, c, ns) {
			if p.DeletionTimestamp == nil && p.Spec.Containers[0].Image != want {
				t.Errorf("%s runs %s, want %s", p.Name, p.Spec.Containers[0].Image, want)
			}
		}
	}
	write(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"j"}]}}}}`)
	eventually(t, settled(2, 2))
	image("j")
	write(`{"spec":{"updateStrategy":{"rollingUpdate":{"maxUnavailable":0,"maxSurge":"50%%"}},"template":{"spec":{"containers":[{"name":"c","image":"k"}]}}}}`)
	eventually(t, settled(2, 2))
	eventually(t, func() string {
		if n := len(pods(t, c, ns)); n != 2 {
			return fmt.Sprint(n, " pods")
		}
		return ""
	})
	image("k")
	write(`{"spec":{"updateStrategy":{"$retainKeys":["type"],"type":"OnDelete"},"template":{"spec":{"containers":[{"name":"c","image":"l"}]}}}}`)
	eventually(t, settled(2, 0))
	image("k")
	for name := range pods(t, c, ns) {
		if err := c.CoreV1().Pods(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, settled(2, 2))
	image("l")
	list, err := c.AppsV1().ControllerRevisions(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 4 {
		t.Errorf("%d revisions, %v", len(list.Items), err)
	}
	_, err = sets.Create(t.Context(), &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "bad"}, Spec: appsv1.DaemonSetSpec{
		Selector: selector("x"), Template: template("y", "i"),
		UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{
			MaxUnavailable: ptr.To(intstr.FromInt32(1)), MaxSurge: ptr.To(intstr.FromString("10%")),
		}},
	}}, metav1.CreateOptions{})
	var status apierrors.APIStatus = &apierrors.StatusError{}
	if s, ok := err.(apierrors.APIStatus); ok { //nolint:errorlint // the client returns it as it is
		status = s
	}
	if !apierrors.IsInvalid(err) || len(status.Status().Details.Causes) != 2 {
		t.Errorf("%v", err)
	}
}
