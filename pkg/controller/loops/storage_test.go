package loops

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestClaimsAreBound: of two claims one gets the volume that is there, the other
// the next one; a volume whose claim is gone is released and nobody else's; and
// nothing is written when all is said.
func TestClaimsAreBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
		modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
		volume := func(name string) {
			t.Helper()
			v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
			v.Spec.Capacity, v.Spec.AccessModes, v.Spec.PersistentVolumeReclaimPolicy = size, modes, corev1.PersistentVolumeReclaimRetain
			if _, err := w.client.CoreV1().PersistentVolumes().Create(t.Context(), v, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		claims := w.client.CoreV1().PersistentVolumeClaims("default")
		for _, name := range []string{"one", "two"} {
			c := &corev1.PersistentVolumeClaim{ObjectMeta: named(name)}
			c.Spec.AccessModes, c.Spec.StorageClassName, c.Spec.Resources.Requests = modes, ptr.To(""), size
			if _, err := claims.Create(t.Context(), c, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		// bound returns the volumes of the two claims.
		bound := func() (of [2]string) {
			t.Helper()
			settle(time.Second)
			for i, name := range []string{"one", "two"} {
				c, err := claims.Get(t.Context(), name, metav1.GetOptions{})
				if err != nil {
					continue
				}
				if c.Status.Phase == corev1.ClaimBound {
					of[i] = c.Spec.VolumeName
				}
			}
			return of
		}
		phase := func(name string) corev1.PersistentVolumePhase {
			t.Helper()
			v, err := w.client.CoreV1().PersistentVolumes().Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return v.Status.Phase
		}
		if got := bound(); got != [2]string{} {
			t.Errorf("without a volume: %q", got)
		}
		volume("first")
		got := bound()
		if got != [2]string{"first", ""} && got != [2]string{"", "first"} {
			t.Errorf("with one volume: %q", got)
		}
		w.quiet()
		first := map[bool]string{true: "one", false: "two"}[got[0] == "first"]
		if err := claims.Delete(t.Context(), first, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := bound(); got != [2]string{} || phase("first") != corev1.VolumeReleased {
			t.Errorf("the claim is gone: %q, %s", got, phase("first"))
		}
		volume("second")
		if got := bound(); got != [2]string{"", "second"} && got != [2]string{"second", ""} {
			t.Errorf("with another volume: %q", got)
		}
		if got := phase("second"); got != corev1.VolumeBound {
			t.Errorf("second is %s", got)
		}
		w.quiet()
	})
}
