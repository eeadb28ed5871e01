package persistentvolume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

func released(source corev1.PersistentVolumeSource, phase corev1.PersistentVolumePhase) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "v", UID: "v1", ResourceVersion: "7"},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource: source, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			ClaimRef: &corev1.ObjectReference{Namespace: "ns", Name: "c", UID: "c1"},
		},
		Status: corev1.PersistentVolumeStatus{Phase: phase},
	}
}

func host(path string) corev1.PersistentVolumeSource {
	return corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}}
}

func TestWhatBecomesOfAReleasedVolume(t *testing.T) {
	const none = `error getting deleter volume plugin for volume "v": no deletable volume plugin matched`
	only := func(path string) string {
		return "host_path deleter only supports /tmp/.+ but received provided " + path
	}
	local := corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/tmp/x"}}
	for name, x := range map[string]struct {
		source corev1.PersistentVolumeSource
		change func(*corev1.PersistentVolume)
		// deleted, or failed for a reason, or neither.
		deleted bool
		failed  string
	}{
		"below /tmp":      {source: host("/tmp/x"), deleted: true},
		"deep below /tmp": {source: host("/tmp/x/y/"), deleted: true},
		"/tmp itself":     {source: host("/tmp/"), failed: only("/tmp/")},
		"beside /tmp":     {source: host("/tmpfiles/x"), failed: only("/tmpfiles/x")},
		"elsewhere":       {source: host("/data/tmp/x"), failed: only("/data/tmp/x")},
		"out of /tmp":     {source: host("/tmp/../etc"), failed: only("/tmp/../etc")},
		"a local one":     {source: local, failed: none},
		"to be kept": {source: host("/tmp/x"), change: func(v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
		}},
		"made for its claim": {source: host("/tmp/x"), change: func(v *corev1.PersistentVolume) {
			v.Annotations = map[string]string{storagevolume.AnnDynamicallyProvisioned: "x.example"}
		}},
		"on its way out": {source: host("/tmp/x"), change: func(v *corev1.PersistentVolume) { v.DeletionTimestamp = &metav1.Time{} }},
		"in use":         {source: host("/tmp/x"), change: func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.Name = "other" }},
	} {
		t.Run(name, func(t *testing.T) {
			w := &World{Claim: func(_, name string) *corev1.PersistentVolumeClaim {
				if name != "other" {
					return nil
				}
				return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{UID: "c1"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "v"}}
			}}
			v := released(x.source, corev1.VolumeReleased)
			if x.change != nil {
				x.change(v)
			}
			s := ForVolume(v, w)
			if (s.Delete != nil) != x.deleted {
				t.Errorf("delete: %v", s.Delete)
			}
			if x.failed == "" {
				if len(s.Events) != 0 || s.VolumeStatus != nil && s.VolumeStatus.Status.Phase == corev1.VolumeFailed {
					t.Errorf("%+v", s)
				}
				return
			}
			if s.VolumeStatus == nil || s.VolumeStatus.Status.Phase != corev1.VolumeFailed || s.VolumeStatus.Status.Message != x.failed ||
				len(s.Events) != 1 || s.Events[0].Type != corev1.EventTypeWarning || s.Events[0].Reason != "VolumeFailedDelete" || s.Events[0].Message != x.failed {
				t.Fatalf("%+v", s)
			}
			// It is said once.
			if again := ForVolume(s.VolumeStatus, w); again.Writes() || len(again.Events) != 0 {
				t.Errorf("again: %+v", again)
			}
		})
	}
	if s := ForVolume(released(host("/tmp/x"), corev1.VolumeBound), &World{Claim: func(string, string) *corev1.PersistentVolumeClaim { return nil }}); s.Delete != nil ||
		s.VolumeStatus == nil || s.VolumeStatus.Status.Phase != corev1.VolumeReleased {
		t.Errorf("it is released first: %+v", s)
	}
}

func TestOnlyWhatIsBelowTheRootIsRemoved(t *testing.T) {
	dir := t.TempDir()
	root, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
	for _, d := range []string{filepath.Join(root, "v", "deep"), filepath.Join(root, "kept"), filepath.Join(outside, "x")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"v/link": outside, "way": outside, "self": root} {
		if err := os.Symlink(to, filepath.Join(root, from)); err != nil {
			t.Fatal(err)
		}
	}
	there := func(path string) bool {
		_, err := os.Lstat(path)
		return err == nil
	}
	for range 2 { // what is gone is no error
		if err := removeTemporary(root, filepath.Join(root, "v")+"/"); err != nil || there(filepath.Join(root, "v")) {
			t.Fatal(err)
		}
	}
	for _, path := range []string{filepath.Join(root, "way", "x"), outside + "/x", filepath.Join(root, "self", "kept"), root} {
		if err := removeTemporary(root, path); err == nil {
			t.Errorf("%s was removed", path)
		}
	}
	if !there(filepath.Join(outside, "x")) || !there(filepath.Join(root, "kept")) {
		t.Error("something is gone that had to stay")
	}
}

// started is a controller with these objects, and what it tells.
func started(t *testing.T, remove func(string) error, v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) (*fake.Clientset, *record.FakeRecorder) {
	t.Helper()
	client := fake.NewClientset(v)
	if c != nil {
		client = fake.NewClientset(v, c)
	}
	factory, told := informers.NewSharedInformerFactory(client, 0), record.NewFakeRecorder(100)
	l, err := New(Options{Client: client, Informers: factory, Recorder: told, Remove: remove})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
	return client, told
}

func TestAReleasedDirectoryIsRemovedBeforeItsVolume(t *testing.T) {
	v := released(host("/tmp/x"), corev1.VolumeReleased)
	var client *fake.Clientset
	failing, ready := true, make(chan struct{})
	var removed []string
	client, told := started(t, func(path string) error {
		<-ready
		if _, err := client.CoreV1().PersistentVolumes().Get(t.Context(), "v", metav1.GetOptions{}); err != nil {
			t.Errorf("the volume is gone: %v", err)
		}
		if failing {
			failing = false
			return errors.New("busy")
		}
		removed = append(removed, path)
		return nil
	}, v, nil)
	close(ready)
	if got := <-told.Events; got != "Warning VolumeFailedDelete busy" {
		t.Errorf("told %q", got)
	}
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().PersistentVolumes().Get(ctx, "v", metav1.GetOptions{})
		return err != nil, nil
	})
	if err != nil || strings.Join(removed, " ") != "/tmp/x" {
		t.Errorf("%v, removed %v", err, removed)
	}
}

func TestAClaimThatWaitsToGrowIsToldOf(t *testing.T) {
	v := released(host("/data"), corev1.VolumeBound)
	v.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c", UID: "c1", Annotations: map[string]string{storagevolume.AnnBindCompleted: "yes"}},
		Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "v", Resources: corev1.VolumeResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
		}},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: v.Spec.Capacity},
	}
	client, told := started(t, nil, v, c)
	claims := client.CoreV1().PersistentVolumeClaims("ns")
	c.Labels = map[string]string{"a": "b"} // no reason to tell anything
	if _, err := claims.Update(t.Context(), c.DeepCopy(), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, size := range []string{"2Gi", "3Gi"} {
		c.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse(size)
		if _, err := claims.Update(t.Context(), c.DeepCopy(), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := <-told.Events; got != "Normal ExternalExpanding waiting for an external controller to expand this PVC" {
			t.Errorf("%s: told %q", size, got)
		}
	}
	if len(told.Events) != 0 {
		t.Errorf("told more: %s", <-told.Events)
	}
}
