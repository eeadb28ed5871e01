package localvolume

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagevolume "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/claim"
)

func wanting(size string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: "n", UID: "u", Annotations: map[string]string{
		storagevolume.AnnStorageProvisioner: claim.Provisioner, storagevolume.AnnSelectedNode: "here",
	}}}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	return c
}

func class() *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "local"}, Provisioner: claim.Provisioner, ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete)}
}

func TestWanted(t *testing.T) {
	at := Place{Node: "here", Hostname: "host", Root: "/data/volumes"}
	v := Wanted(wanting("1Gi"), class(), at)
	if v == nil || v.Name != "pvc-u" || v.Spec.Local.Path != "/data/volumes/pvc-u" || v.Spec.ClaimRef.UID != "u" ||
		v.Annotations[claim.CapacityAnnotation] != claim.NotEnforced || !slices.Contains(v.Finalizers, claim.Finalizer) ||
		storagevolume.CheckNodeAffinity(v, map[string]string{corev1.LabelHostname: "host"}) != nil ||
		storagevolume.CheckNodeAffinity(v, map[string]string{corev1.LabelHostname: "other"}) == nil {
		t.Fatalf("%+v", v)
	}
	for name, change := range map[string]func(*corev1.PersistentVolumeClaim, *storagev1.StorageClass){
		"another node": func(c *corev1.PersistentVolumeClaim, _ *storagev1.StorageClass) {
			c.Annotations[storagevolume.AnnSelectedNode] = "there"
		},
		"another provisioner": func(c *corev1.PersistentVolumeClaim, _ *storagev1.StorageClass) {
			c.Annotations[storagevolume.AnnStorageProvisioner] = "x"
		},
		"bound": func(c *corev1.PersistentVolumeClaim, _ *storagev1.StorageClass) { c.Spec.VolumeName = "v" },
		"deleted": func(c *corev1.PersistentVolumeClaim, _ *storagev1.StorageClass) {
			c.DeletionTimestamp = ptr.To(metav1.Now())
		},
		"another class": func(_ *corev1.PersistentVolumeClaim, s *storagev1.StorageClass) { s.Provisioner = "x" },
	} {
		c, s := wanting("1Gi"), class()
		change(c, s)
		if v := Wanted(c, s, at); v != nil {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestFateOf(t *testing.T) {
	const released, bound = corev1.VolumeReleased, corev1.VolumeBound
	for _, c := range []struct {
		phase   corev1.PersistentVolumePhase
		policy  corev1.PersistentVolumeReclaimPolicy
		deleted bool
		node    string
		want    Fate
	}{
		{bound, "Delete", false, "here", Keep},
		{released, "Delete", false, "here", Delete},
		{released, "Retain", false, "here", Keep},
		{released, "Delete", true, "here", Remove},
		{released, "Retain", true, "here", LetGo},
		{bound, "Delete", true, "here", Keep},
		{corev1.VolumeAvailable, "Delete", true, "here", Remove},
		{released, "Delete", false, "there", Keep},
		{released, "Delete", true, "there", Keep},
	} {
		v := Wanted(wanting("1Gi"), class(), Place{Node: "here", Root: "/v"})
		v.Status.Phase, v.Spec.PersistentVolumeReclaimPolicy, v.Annotations[claim.NodeAnnotation] = c.phase, c.policy, c.node
		if c.deleted {
			v.DeletionTimestamp = ptr.To(metav1.Now())
		}
		if got := FateOf(v, "here"); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
		v.Annotations[storagevolume.AnnDynamicallyProvisioned] = "other"
		if got := FateOf(v, "here"); got != Keep {
			t.Errorf("another's volume: %v", got)
		}
	}
}

// TestGrow: three writes, and each goes on from where the one before left it.
func TestGrow(t *testing.T) {
	c := wanting("2Gi")
	v := Wanted(wanting("1Gi"), class(), Place{Node: "here", Root: "/v"})
	c.Spec.VolumeName, c.Status.Phase = v.Name, corev1.ClaimBound
	c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	now := metav1.Now()
	g := Grow(c, v, "here", now)
	if g.Begin == nil || g.Begin.Status.Conditions[0].Type != corev1.PersistentVolumeClaimResizing {
		t.Fatalf("begin: %+v", g)
	}
	c = g.Begin
	if g = Grow(c, v, "here", now); g.Volume == nil || g.Volume.Spec.Capacity.Storage().String() != "2Gi" {
		t.Fatalf("volume: %+v", g)
	}
	v = g.Volume
	if g = Grow(c, v, "here", now); g.Done == nil || g.Done.Status.Capacity.Storage().String() != "2Gi" || len(g.Done.Status.Conditions) > 0 {
		t.Fatalf("done: %+v", g)
	}
	if g = Grow(g.Done, v, "here", now); g != (Growth{}) {
		t.Errorf("it goes on: %+v", g)
	}
	if g = Grow(c, v, "there", now); g != (Growth{}) {
		t.Errorf("another node: %+v", g)
	}
}

func TestDirs(t *testing.T) {
	d := Dirs{Root: filepath.Join(t.TempDir(), "volumes")}
	v := Wanted(wanting("1Gi"), class(), Place{Node: "here", Root: d.Root})
	dir := filepath.Join(d.Root, v.Name)
	for range 2 {
		if err := d.Make(v); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o777 {
		t.Errorf("%v %v", st, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Resize(v), d.Remove(v), d.Remove(v), d.Resize(v)); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(d.Root); err != nil || len(entries) > 0 {
		t.Errorf("left: %v %v", entries, err)
	}
	outside := filepath.Join(t.TempDir(), "precious")
	if err := os.Mkdir(outside, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{outside, d.Root, d.Root + "/../precious"} {
		v.Spec.Local.Path = path
		if err := d.Remove(v); !errors.Is(err, errForeign) {
			t.Errorf("removing %s: %v", path, err)
		}
	}
	v.Name, v.Spec.Local.Path = "..", filepath.Dir(d.Root)
	if err := d.Remove(v); !errors.Is(err, errForeign) {
		t.Errorf("removing the parent: %v", err)
	}
}
