package persistentvolume

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	storagevolume "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// history is a store in which every write needs the version it was decided on,
// and decisions are made on what was there some writes ago.
type history struct {
	t       *testing.T
	rnd     *rand.Rand
	n       int
	volumes map[string]*corev1.PersistentVolume
	claims  map[string]*corev1.PersistentVolumeClaim
	past    []*World
	// gone are volumes that somebody deleted.
	gone map[string]bool
}

func (h *history) version() string { h.n++; return fmt.Sprint(h.n) }

func (h *history) snapshot() {
	w := &World{Unscheduled: func(*corev1.PersistentVolumeClaim) []string { return nil }}
	for _, name := range slices.Sorted(keys(h.volumes)) {
		w.Volumes = append(w.Volumes, h.volumes[name].DeepCopy())
	}
	claims := map[string]*corev1.PersistentVolumeClaim{}
	for name, c := range h.claims {
		claims[name] = c.DeepCopy()
	}
	w.Claim = func(_, name string) *corev1.PersistentVolumeClaim { return claims[name] }
	w.Class = func(name string) *storagev1.StorageClass {
		if name == "late" {
			return &storagev1.StorageClass{Provisioner: "example.com/x", VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer)}
		}
		return nil
	}
	h.past = append(h.past, w)
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (h *history) write(s Step) {
	if next := either(s.Volume, s.VolumeStatus); next != nil {
		if now := h.volumes[next.Name]; now == nil || now.ResourceVersion != next.ResourceVersion || now.UID != next.UID {
			return
		}
		next.ResourceVersion = h.version()
		h.volumes[next.Name] = next
	}
	if next := either(s.Claim, s.ClaimStatus); next != nil {
		now := h.claims[next.Name]
		if now == nil || now.ResourceVersion != next.ResourceVersion || now.UID != next.UID {
			return
		}
		if now.Spec.VolumeName != "" && now.Spec.VolumeName != next.Spec.VolumeName {
			h.t.Fatalf("claim %s was bound to %s and shall be to %s", next.Name, now.Spec.VolumeName, next.Spec.VolumeName)
		}
		next.ResourceVersion = h.version()
		h.claims[next.Name] = next
	}
}

func either[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

// act decides for one object on a world that is up to lag writes old.
func (h *history) act(lag int) bool {
	h.snapshot()
	w := h.past[max(0, len(h.past)-1-h.rnd.Intn(lag+1))]
	wrote := false
	if names := slices.Sorted(keys(h.claims)); len(names) > 0 && h.rnd.Intn(2) == 0 {
		if c := w.Claim("", names[h.rnd.Intn(len(names))]); c != nil {
			s := ForClaim(c, w)
			wrote = s.Writes()
			h.write(s)
		}
	} else if len(w.Volumes) > 0 {
		s := ForVolume(w.Volumes[h.rnd.Intn(len(w.Volumes))], w)
		wrote = s.Writes()
		h.write(s)
	}
	h.check()
	return wrote
}

// settle runs everything on fresh views until nothing changes.
func (h *history) settle() {
	for range 1000 {
		h.snapshot()
		w, wrote := h.past[len(h.past)-1], false
		for _, v := range w.Volumes {
			if s := ForVolume(v, w); s.Writes() {
				h.write(s)
				wrote = true
				break
			}
		}
		for _, name := range slices.Sorted(keys(h.claims)) {
			if s := ForClaim(w.Claim("", name), w); !wrote && s.Writes() {
				h.write(s)
				wrote = true
			}
		}
		h.check()
		if !wrote {
			return
		}
	}
	h.t.Fatal("it never settles")
}

// check holds at every moment: two claims that are both bound are bound to two
// volumes, and no claim loses a volume that nobody deleted.
func (h *history) check() {
	by := map[string]string{}
	for _, name := range slices.Sorted(keys(h.claims)) {
		c := h.claims[name]
		if c.Status.Phase == corev1.ClaimLost && h.volumes[c.Spec.VolumeName] != nil && !h.gone[c.Spec.VolumeName] {
			h.t.Fatalf("claim %s is lost and its volume %s is there: %+v", name, c.Spec.VolumeName, h.volumes[c.Spec.VolumeName].Spec.ClaimRef)
		}
		if c.Status.Phase != corev1.ClaimBound {
			continue
		}
		if other := by[c.Spec.VolumeName]; other != "" {
			h.t.Fatalf("claims %s and %s are both bound to %s", other, name, c.Spec.VolumeName)
		}
		by[c.Spec.VolumeName] = name
	}
}

// checkSettled holds when all has been said: bound means by both sides, no
// volume is kept for a claim that has another, and no claim waits for a volume
// that is free and fits.
func (h *history) checkSettled() {
	for name, c := range h.claims {
		v := h.volumes[c.Spec.VolumeName]
		if c.Status.Phase == corev1.ClaimBound && (v == nil || v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID != c.UID || v.Status.Phase != corev1.VolumeBound) {
			h.t.Errorf("claim %s is bound, and volume %s is %+v", name, c.Spec.VolumeName, v)
		}
		for _, v := range h.volumes {
			if ref := v.Spec.ClaimRef; ref != nil && ref.UID == c.UID && c.Spec.VolumeName != v.Name {
				h.t.Errorf("volume %s is kept for claim %s, which has %q", v.Name, name, c.Spec.VolumeName)
			}
			if c.Spec.VolumeName == "" && v.Spec.ClaimRef == nil && match(c, []*corev1.PersistentVolume{v}, *c.Spec.StorageClassName == "late") != nil {
				h.t.Errorf("claim %s waits, and volume %s is free", name, v.Name)
			}
		}
	}
}

func (h *history) happen() {
	name := fmt.Sprint(h.rnd.Intn(5))
	class := []string{"", "", "late"}[h.rnd.Intn(3)]
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteMany}[:1+h.rnd.Intn(2)]
	size := resource.MustParse(fmt.Sprintf("%dGi", 1+h.rnd.Intn(3)))
	meta := metav1.ObjectMeta{Name: name, Namespace: "n", ResourceVersion: h.version(), UID: types.UID(fmt.Sprint("uid", h.n))}
	switch h.rnd.Intn(8) {
	case 0, 1, 2:
		if h.claims[name] != nil {
			return
		}
		c := &corev1.PersistentVolumeClaim{ObjectMeta: meta, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}}
		c.Spec.AccessModes, c.Spec.StorageClassName = modes, ptr.To(class)
		c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: size}
		if h.rnd.Intn(4) == 0 {
			c.Spec.VolumeName = fmt.Sprint(h.rnd.Intn(5))
		}
		h.claims[name] = c
	case 3, 4, 5:
		if h.volumes[name] != nil {
			return
		}
		meta.Namespace = ""
		v := &corev1.PersistentVolume{ObjectMeta: meta}
		v.Spec.AccessModes, v.Spec.StorageClassName = modes, class
		v.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: size}
		v.Spec.PersistentVolumeReclaimPolicy = []corev1.PersistentVolumeReclaimPolicy{"Retain", "Delete"}[h.rnd.Intn(2)]
		if h.rnd.Intn(4) == 0 {
			v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "n", Name: fmt.Sprint(h.rnd.Intn(5))}
		}
		h.volumes[name] = v
	case 6:
		delete(h.claims, name)
	case 7:
		if h.volumes[name] != nil {
			h.gone[name] = true
			delete(h.volumes, name)
		}
	}
}

// TestHistories runs the binder over random histories. It may be killed after
// any write, which is to say that any object may be the next, decided on an old
// view.
func TestHistories(t *testing.T) {
	for seed := range int64(1500) {
		h := &history{
			t: t, rnd: rand.New(rand.NewSource(seed)), //nolint:gosec // repeatable
			volumes: map[string]*corev1.PersistentVolume{}, claims: map[string]*corev1.PersistentVolumeClaim{}, gone: map[string]bool{},
		}
		for range 80 {
			if h.rnd.Intn(5) == 0 {
				h.happen()
			}
			h.act(4)
		}
		h.settle()
		h.checkSettled()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestSelectedByTheController(t *testing.T) {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "n", UID: "u"}}
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	c.Status.Phase = corev1.ClaimPending
	w := &World{
		Class: func(string) *storagev1.StorageClass {
			return &storagev1.StorageClass{Provisioner: "kubernetes.io/no-provisioner", VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer)}
		},
		Unscheduled: func(*corev1.PersistentVolumeClaim) []string { return nil },
	}
	said := func(change func()) string {
		change()
		s := ForClaim(c, w)
		if len(s.Events) == 0 {
			return fmt.Sprintf("%v", s.Writes())
		}
		return s.Events[0].Reason + ": " + s.Events[0].Message
	}
	for _, step := range []struct {
		change func()
		want   string
	}{
		{func() {}, "FailedBinding: no persistent volumes available for this claim and no storage class is set"},
		{func() { c.Spec.StorageClassName = ptr.To("s") }, "WaitForFirstConsumer: waiting for first consumer to be created before binding"},
		{func() { w.Unscheduled = func(*corev1.PersistentVolumeClaim) []string { return []string{"a", "b"} } }, "WaitForPodScheduled: waiting for pods a,b to be scheduled"},
		{func() { c.Annotations = map[string]string{storagevolume.AnnSelectedNode: "x"} }, "ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner"},
		{func() { w.Class = func(string) *storagev1.StorageClass { return nil } }, `ProvisioningFailed: storageclass.storage.k8s.io "s" not found`},
		{func() { c.Spec.VolumeName = "gone" }, "false"},
	} {
		if got := said(step.change); got != step.want {
			t.Errorf("%s, want %s", got, step.want)
		}
	}
}
