package protection

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/claim"
)

func user(node, name string, change func(*corev1.Pod)) []*corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", UID: "pod"}}
	p.Spec.NodeName = node
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}}
	if change != nil {
		change(p)
	}
	return []*corev1.Pod{p}
}

func own(p *corev1.Pod) {
	p.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}
}

func TestHeldAndUsed(t *testing.T) {
	over := func(p *corev1.Pod) {
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = ptr.To(metav1.Now()), ptr.To[int64](0)
	}
	for name, c := range map[string]struct {
		pods       []*corev1.Pod
		held, used bool
	}{
		"no pod":           {nil, false, false},
		"another claim":    {user("x", "other", nil), false, false},
		"it runs":          {user("x", "p-v", nil), true, true},
		"without a node":   {user("", "p-v", nil), false, true},
		"it has succeeded": {user("x", "p-v", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), true, false},
		"only waited for":  {user("x", "p-v", over), true, false},
		"its own":          {user("x", "", own), true, true},
		"its own, over":    {user("x", "", func(p *corev1.Pod) { own(p); over(p) }), false, false},
		"another's own":    {user("x", "", func(p *corev1.Pod) { own(p); p.UID = "later" }), false, false},
	} {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "p-v", Namespace: "n", OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "pod", Controller: ptr.To(true)},
		}}}
		if got := held(claim, c.pods); got != c.held {
			t.Errorf("%s: held %v", name, got)
		}
		if got := used(claim, c.pods); got != c.used {
			t.Errorf("%s: used %v", name, got)
		}
	}
}

func TestFinalizers(t *testing.T) {
	o := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{"x/y"}}}
	if list, changed := finalizers(o, claim.VolumeProtection, false); !changed || len(list) != 2 {
		t.Errorf("a volume without: %v %v", list, changed)
	}
	o.Finalizers = append(o.Finalizers, claim.VolumeProtection)
	if _, changed := finalizers(o, claim.VolumeProtection, false); changed {
		t.Error("a volume that has it is changed")
	}
	o.DeletionTimestamp = ptr.To(metav1.Now())
	if _, changed := finalizers(o, claim.VolumeProtection, true); changed {
		t.Error("a volume that is in use is let go")
	}
	if list, changed := finalizers(o, claim.VolumeProtection, false); !changed || len(list) != 1 || list[0] != "x/y" {
		t.Errorf("a volume that nobody uses: %v %v", list, changed)
	}
}

func TestUseIsTold(t *testing.T) {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "p-v", Namespace: "n"}}
	if withUse(c, nil, metav1.Now()) != nil {
		t.Error("of a claim that is not bound")
	}
	c.Status.Phase = corev1.ClaimBound
	for _, step := range []struct {
		pods []*corev1.Pod
		want corev1.ConditionStatus
	}{{nil, "True"}, {user("x", "p-v", nil), "False"}, {nil, "True"}} {
		next := withUse(c, step.pods, metav1.Now())
		if next == nil || len(next.Status.Conditions) != 1 || next.Status.Conditions[0].Status != step.want {
			t.Fatalf("%+v, want %s", next, step.want)
		}
		if c = next; withUse(c, step.pods, metav1.Now()) != nil {
			t.Error("it is told twice")
		}
	}
}
