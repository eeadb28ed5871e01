package loops

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"
)

func gone(seconds *int64) []corev1.Toleration {
	return []corev1.Toleration{{Key: "gone", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds}}
}

// onNode makes a pod that runs on a node.
func (w *world) onNode(name, node string, tolerations []corev1.Toleration) {
	w.t.Helper()
	p := &corev1.Pod{ObjectMeta: named(name), Spec: template(never).Spec}
	p.Spec.NodeName, p.Spec.Tolerations = node, tolerations
	if _, err := w.client.CoreV1().Pods("default").Create(w.t.Context(), p, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// taint makes these the taints of a node.
func (w *world) taint(node string, taints ...corev1.Taint) {
	w.t.Helper()
	n, err := w.client.CoreV1().Nodes().Get(w.t.Context(), node, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	n = n.DeepCopy()
	n.Spec.Taints = taints
	if _, err := w.client.CoreV1().Nodes().Update(w.t.Context(), n, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// left fails the test unless these pods are left.
func (w *world) left(names ...string) {
	w.t.Helper()
	synctest.Wait()
	if got := w.pods()[never]; !slices.Equal(got, names) {
		w.t.Errorf("at %v: pods %q, want %q", time.Now(), got, names)
	}
}

// told fails the test unless these events were recorded since the last call.
func (w *world) told(want ...string) {
	w.t.Helper()
	var got []string
	for len(w.recorder.Events) > 0 {
		got = append(got, strings.TrimPrefix(<-w.recorder.Events, "Normal TaintManagerEviction "))
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("events %q, want %q", got, want)
	}
}

func nodes(names ...string) (out []runtime.Object) {
	for _, name := range names {
		out = append(out, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return out
}

var expels = corev1.Taint{Key: "gone", Value: "1", Effect: corev1.TaintEffectNoExecute}

// TestTaintEviction: a taint ends the pods of its node, each in its own time,
// and no others.
func TestTaintEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, nodes("n", "other")...)
		w.onNode("content", "n", gone(nil))
		w.onNode("far", "other", nil)
		w.onNode("patient", "n", gone(ptr.To[int64](30)))
		w.onNode("strict", "n", nil)
		settle(time.Hour)
		w.taint("n", corev1.Taint{Key: "x", Effect: corev1.TaintEffectNoSchedule})
		settle(time.Second)
		w.left("content", "far", "patient", "strict")
		w.told()
		w.client.ClearActions()
		w.taint("n", expels)
		settle(29 * time.Second)
		w.left("content", "far", "patient")
		w.told("Marking for deletion Pod default/strict")
		w.announced("strict")
		settle(2 * time.Second)
		w.left("content", "far")
		w.told("Marking for deletion Pod default/patient")
		// One that comes later finds the taint.
		w.onNode("late", "n", nil)
		settle(time.Second)
		w.left("content", "far")
		w.told("Marking for deletion Pod default/late")
		w.taint("n")
		settle(time.Second)
		w.told()
		w.quiet()
	})
}

// announced fails the test unless the pod was told why it goes, then deleted.
func (w *world) announced(pod string) {
	w.t.Helper()
	var verbs []string
	for _, a := range w.client.Actions() {
		switch a := a.(type) {
		case clienttesting.PatchActionImpl:
			if a.Name == pod && a.Subresource == "status" && strings.Contains(string(a.Patch), `"reason":"DeletionByTaintManager"`) &&
				strings.Contains(string(a.Patch), `"observedGeneration":1`) {
				verbs = append(verbs, "patch")
			}
		case clienttesting.DeleteActionImpl:
			if a.Name == pod && a.DeleteOptions.Preconditions != nil && a.DeleteOptions.GracePeriodSeconds == nil {
				verbs = append(verbs, "delete")
			}
		}
	}
	if !slices.Equal(verbs, []string{"patch", "delete"}) {
		w.t.Errorf("%s: %q", pod, verbs)
	}
}

// TestTaintEvictionCancelled: what was to come does not when the taint goes, and
// a taint that comes back counts anew.
func TestTaintEvictionCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, nodes("n")...)
		w.onNode("patient", "n", gone(ptr.To[int64](30)))
		w.taint("n", expels)
		settle(20 * time.Second)
		w.taint("n")
		settle(20 * time.Second)
		w.told("Cancelling deletion of Pod default/patient")
		w.left("patient")
		w.taint("n", expels)
		settle(29 * time.Second)
		w.left("patient")
		// It learns to tolerate it for good.
		p, err := w.client.CoreV1().Pods("default").Get(t.Context(), "patient", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p = p.DeepCopy()
		p.Spec.Tolerations = append(gone(nil), p.Spec.Tolerations...)
		if _, err := w.client.CoreV1().Pods("default").Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		settle(time.Minute)
		w.left("patient")
		w.told("Cancelling deletion of Pod default/patient")
		w.quiet()
	})
}

// TestTaintEvictionAfterRestart: the wait goes on where the objects say when it
// began.
func TestTaintEvictionAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := metav1.NewTime(time.Now().Add(-20 * time.Second))
		old := metav1.NewTime(time.Now().Add(-time.Hour))
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
		n.Spec.Taints = []corev1.Taint{expels}
		n.Spec.Taints[0].TimeAdded = &begun
		p := &corev1.Pod{ObjectMeta: named("patient"), Spec: template(never).Spec, Status: corev1.PodStatus{StartTime: &old}}
		p.UID, p.Spec.NodeName, p.Spec.Tolerations = "u", "n", gone(ptr.To[int64](30))
		w := run(t, n, p)
		settle(9 * time.Second)
		w.left("patient")
		settle(2 * time.Second)
		w.left()
		w.told("Marking for deletion Pod default/patient")
	})
}

// TestTaintEvictionFails: a deletion that fails is tried again, and told of once.
// The pod that is gone, or another one by then, is a success.
func TestTaintEvictionFails(t *testing.T) {
	pods := corev1.Resource("pods")
	for name, tc := range map[string]struct {
		err   error
		tries int
		told  []string
	}{
		"anyhow":      {errors.New("no luck"), 4, []string{"Marking for deletion Pod default/strict"}},
		"gone":        {apierrors.NewNotFound(pods, "strict"), 1, nil},
		"another one": {apierrors.NewConflict(pods, "strict", errors.New("uid")), 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := run(t, nodes("n")...)
				tries := 0
				w.client.PrependReactor("delete", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
					tries++
					return tries < 4, nil, tc.err
				})
				w.onNode("strict", "n", nil)
				w.taint("n", expels)
				settle(time.Minute)
				w.told(tc.told...)
				if tries != tc.tries {
					t.Errorf("tried %d times, want %d", tries, tc.tries)
				}
				patches := 0
				for _, a := range w.client.Actions() {
					if a.GetVerb() == "patch" {
						patches++
					}
				}
				if patches != 1 {
					t.Errorf("announced %d times", patches)
				}
			})
		})
	}
}
