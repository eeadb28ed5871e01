package statefulset

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// TestOwned: who owns a claim follows from the policy and from whether its pod
// is to be given up; what is another's is left alone.
func TestOwned(t *testing.T) {
	const keep, drop = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "db-1", UID: "pod"}}
	ref := func(kind, name, uid string) metav1.OwnerReference {
		version := "apps/v1"
		if kind == "Pod" {
			version = "v1"
		}
		return metav1.OwnerReference{APIVersion: version, Kind: kind, Name: name, UID: types.UID(uid), Controller: ptr.To(true)}
	}
	for _, c := range []struct {
		name           string
		deleted, scale appsv1.PersistentVolumeClaimRetentionPolicyType
		replicas       int32
		has            []metav1.OwnerReference
		want           string
	}{
		{"kept", keep, keep, 2, nil, ""},
		{"kept, was owned", keep, keep, 2, []metav1.OwnerReference{ref("StatefulSet", "db", "set")}, ""},
		{"goes with the set", drop, keep, 2, nil, "set"},
		{"goes with the set, pod given up", drop, keep, 1, nil, "set"},
		{"goes when scaled, in range", keep, drop, 2, nil, ""},
		{"goes when scaled", keep, drop, 1, nil, "pod"},
		{"goes with both, in range", drop, drop, 2, []metav1.OwnerReference{ref("Pod", "db-1", "pod")}, "set"},
		{"goes with both, given up", drop, drop, 1, []metav1.OwnerReference{ref("StatefulSet", "db", "set")}, "pod"},
		{"owned by an earlier pod", drop, drop, 1, []metav1.OwnerReference{ref("Pod", "db-1", "earlier")}, "earlier"},
		{"another's", drop, drop, 2, []metav1.OwnerReference{ref("Thing", "x", "other")}, "other"},
		{"another's and the set's", drop, drop, 2, []metav1.OwnerReference{ref("Thing", "x", "other"), ref("StatefulSet", "db", "set")}, "other"},
	} {
		set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db", UID: "set"}}
		set.Spec.Replicas = ptr.To(c.replicas)
		set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: c.deleted, WhenScaled: c.scale}
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data-db-1", OwnerReferences: c.has}}
		if next := Owned(claim, set, pod, 1); next != nil {
			claim = next
			if Owned(claim, set, pod, 1) != nil {
				t.Errorf("%s: it is changed a second time", c.name)
			}
		}
		got := ""
		for _, r := range claim.OwnerReferences {
			got += string(r.UID)
		}
		if got != c.want {
			t.Errorf("%s: owned by %q, want %q", c.name, got, c.want)
		}
	}
}
