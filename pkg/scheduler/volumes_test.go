package scheduler

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagevolume "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/claim"
)

// testVolume has 10 GiB of class late, on the nodes named or on all.
func testVolume(name string, nodes ...string) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: list("storage", "10Gi"), StorageClassName: "late",
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteOncePod},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable},
	}
	if len(nodes) > 0 {
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: nodes}},
		}}}}
	}
	return v
}

type claimOption func(*corev1.PersistentVolumeClaim)

// testClaim asks for 1 GiB of class late.
func testClaim(name string, opts ...claimOption) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "claim-uid", Annotations: map[string]string{}},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: ptr.To("late"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: list("storage", "1Gi")},
		},
	}
	for _, o := range opts {
		o(c)
	}
	return c
}

func boundTo(volume string) claimOption {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Spec.VolumeName = volume
		c.Annotations[storagevolume.AnnBindCompleted] = "yes"
	}
}

func ofClass(name string) claimOption {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = &name }
}

func onNode(name string) claimOption {
	return func(c *corev1.PersistentVolumeClaim) { c.Annotations[storagevolume.AnnSelectedNode] = name }
}

func ofSize(text string) claimOption {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.Resources.Requests = list("storage", text) }
}

func alone(c *corev1.PersistentVolumeClaim) {
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
}

// testClass makes volumes when a pod has a node, unless it is one of those that
// make none.
func testClass(name, provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

// claims uses claims; an ephemeral volume has the name of its claim.
func claims(names ...string) podOption {
	return func(p *corev1.Pod) {
		for _, n := range names {
			v := corev1.Volume{Name: n}
			if name, ok := strings.CutPrefix(n, "ephemeral-"); ok {
				v.Name, v.Ephemeral = name, &corev1.EphemeralVolumeSource{}
			} else {
				v.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: n}
			}
			p.Spec.Volumes = append(p.Spec.Volumes, v)
		}
	}
}

func TestVolumesOfAPod(t *testing.T) {
	const wait, now = storagev1.VolumeBindingWaitForFirstConsumer, storagev1.VolumeBindingImmediate
	zoned := testClass("zoned", "x.example", wait)
	zoned.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: corev1.LabelHostname, Values: []string{"b"}}}}}
	pvcs := func(c ...*corev1.PersistentVolumeClaim) []*corev1.PersistentVolumeClaim { return c }
	pvs := func(v ...*corev1.PersistentVolume) []*corev1.PersistentVolume { return v }
	owned := testClaim("p-own")
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "p", Controller: ptr.To(true)}}
	tests := map[string]struct {
		pod     *corev1.Pod
		claims  []*corev1.PersistentVolumeClaim
		volumes []*corev1.PersistentVolume
		on      *corev1.Pod
		// node is where it goes, with these volumes; else why it does not.
		node, gets, says string
	}{
		"bound here":         {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", boundTo("v"))), volumes: pvs(testVolume("v", "b")), node: "b"},
		"bound anywhere":     {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", boundTo("v"))), volumes: pvs(testVolume("v")), node: "a"},
		"bound elsewhere":    {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", boundTo("v"))), volumes: pvs(testVolume("v", "z")), says: "2 " + ReasonVolumeElsewhere},
		"the volume is gone": {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", boundTo("v"))), says: "2 " + ReasonVolumeGone},
		"two, apart": {
			pod: testPod("p", claims("c", "d")), claims: pvcs(testClaim("c", boundTo("v")), testClaim("d", boundTo("w"))),
			volumes: pvs(testVolume("v", "a"), testVolume("w", "b")), says: "2 " + ReasonVolumeElsewhere,
		},
		"no claim":            {pod: testPod("p", claims("c")), says: `persistentvolumeclaim "c" not found`},
		"another's claim":     {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", func(c *corev1.PersistentVolumeClaim) { c.Namespace = "other" })), says: `persistentvolumeclaim "c" not found`},
		"its own, not yet":    {pod: testPod("p", claims("ephemeral-own")), says: `waiting for ephemeral volume controller to create the persistentvolumeclaim "p-own"`},
		"its own":             {pod: testPod("p", claims("ephemeral-own")), claims: pvcs(owned), node: "a", gets: "p-own: to be made"},
		"not its own":         {pod: testPod("p", claims("ephemeral-own")), claims: pvcs(testClaim("p-own")), says: `PVC default/p-own was not created for pod default/p (pod is not owner)`},
		"a lost one":          {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", boundTo("v"), func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimLost })), says: `persistentvolumeclaim "c" bound to non-existent persistentvolume "v"`},
		"one that goes":       {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{} })), says: `persistentvolumeclaim "c" is being deleted`},
		"bound at once, soon": {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", ofClass("now"))), says: unboundImmediate},
		"no such class":       {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", ofClass("none"))), says: unboundImmediate},
		"half bound":          {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "v" })), says: unboundImmediate},
		"for one pod":         {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", boundTo("v"), alone)), volumes: pvs(testVolume("v")), node: "a"},
		"in use": {
			pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", boundTo("v"), alone)), volumes: pvs(testVolume("v")),
			on: testPod("q", claims("c")), says: "2 " + ReasonClaimInUse,
		},
		"in use, but shared": {
			pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", boundTo("v"))), volumes: pvs(testVolume("v")),
			on: testPod("q", claims("c")), node: "a",
		},
		"one that is there":  {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c")), volumes: pvs(testVolume("v", "b")), node: "a", gets: "c: to be made"},
		"one that only is":   {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", ofClass("static"))), volumes: pvs(ofStatic("v", "b")), node: "b", gets: "c: v"},
		"none, and no maker": {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", ofClass("static"))), says: "2 " + ReasonNoVolume},
		"one for two": {
			pod: testPod("p", claims("c", "d")), claims: pvcs(testClaim("c", ofClass("static")), testClaim("d", ofClass("static"))),
			volumes: pvs(ofStatic("v", "b")), says: "2 " + ReasonNoVolume,
		},
		"the smaller gets the smaller": {
			pod: testPod("p", claims("large", "small")), claims: pvcs(testClaim("large", ofClass("static"), ofSize("9Gi")), testClaim("small", ofClass("static"))),
			volumes: pvs(sized(ofStatic("v", "b"), "10Gi"), sized(ofStatic("w", "b"), "2Gi")), node: "b", gets: "small: w, large: v",
		},
		"too small":         {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", ofClass("static"), ofSize("11Gi"))), volumes: pvs(ofStatic("v")), says: "2 " + ReasonNoVolume},
		"given to a node":   {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", onNode("b"))), node: "b", gets: "c: to be made"},
		"to one that left":  {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", onNode("z"))), says: "2 " + ReasonNoVolume},
		"made in one place": {pod: testPod("p", claims("c")), claims: pvcs(testClaim("c", ofClass("zoned"))), node: "b", gets: "c: to be made"},
		"none is chosen by its labels": {
			pod:    testPod("p", claims("c")),
			claims: pvcs(testClaim("c", ofClass("local"), func(c *corev1.PersistentVolumeClaim) { c.Spec.Selector = &metav1.LabelSelector{} })), says: "2 " + ReasonNoVolume,
		},
	}
	for name, x := range tests {
		t.Run(name, func(t *testing.T) {
			s := snapshotOf(testNode("a"), testNode("b"))
			for _, c := range []*storagev1.StorageClass{
				testClass("late", "x.example", wait), testClass("now", "x.example", now), testClass("static", "kubernetes.io/no-provisioner", wait),
				testClass("local", claim.Provisioner, wait), zoned,
			} {
				s.SetClass(c)
			}
			for _, c := range x.claims {
				s.SetClaim(c)
			}
			for _, v := range x.volumes {
				s.SetVolume(v)
			}
			if x.on != nil {
				s.SetPod(x.on, "b")
			}
			got, err := Schedule(x.pod, s)
			node := got.Node
			if x.says != "" {
				fit := (*FitError)(nil)
				if !errors.As(err, &fit) || !strings.Contains(err.Error(), x.says) {
					t.Fatalf("goes to %q: %v, want %s", node, err, x.says)
				}
				return
			}
			if err != nil || node != x.node {
				t.Fatalf("goes to %q: %v, want %s", node, err, x.node)
			}
			var gets []string
			for _, c := range Volumes(x.pod, s, node) {
				volume := "to be made"
				if c.Volume != nil {
					volume = c.Volume.Name
				}
				gets = append(gets, c.Claim.Name+": "+volume)
			}
			if text := strings.Join(gets, ", "); text != x.gets {
				t.Errorf("gets %q, want %q", text, x.gets)
			}
		})
	}
}

func ofStatic(name string, nodes ...string) *corev1.PersistentVolume {
	v := testVolume(name, nodes...)
	v.Spec.StorageClassName = "static"
	return v
}

func sized(v *corev1.PersistentVolume, size string) *corev1.PersistentVolume {
	v.Spec.Capacity = list("storage", size)
	return v
}

func TestForgottenStorageCountsForNothing(t *testing.T) {
	s := snapshotOf(testNode("a"))
	s.SetClass(testClass("late", "x.example", storagev1.VolumeBindingWaitForFirstConsumer))
	s.SetClaim(testClaim("c", boundTo("v")))
	s.SetVolume(testVolume("v"))
	p := testPod("p", claims("c"))
	steps := []struct {
		change func()
		want   string
	}{
		{func() {}, ""},
		{func() { s.RemoveVolume("v") }, ReasonVolumeGone},
		{func() { s.SetClaim(testClaim("c")) }, ""},
		{func() { s.RemoveClass("late") }, unboundImmediate},
		{func() { s.RemoveClaim("default", "c") }, "not found"},
	}
	for _, x := range steps {
		x.change()
		if _, err := Schedule(p, s); (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v, want %q", err, x.want)
		}
	}
}
