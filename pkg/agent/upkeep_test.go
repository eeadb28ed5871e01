package agent_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// showing is a pod with one volume.
func showing(v corev1.VolumeSource) *corev1.Pod {
	p := newPod("web", "app")
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: v}}
	return p
}

func projecting(s corev1.VolumeProjection) corev1.VolumeSource {
	return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{s}}}
}

func named(name string) corev1.LocalObjectReference {
	return corev1.LocalObjectReference{Name: name}
}

func configMap(namespace, name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string]string{"k": value}}
}

// TestVolumesAreLookedAtAgain counts how often volumes are brought up to date
// in half an hour in which nothing happens.
func TestVolumesAreLookedAtAgain(t *testing.T) {
	token := func(seconds *int64) corev1.VolumeSource {
		return projecting(corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: seconds}})
	}
	limit := corev1.DownwardAPIVolumeFile{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}
	label := corev1.DownwardAPIVolumeFile{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}
	for name, c := range map[string]struct {
		volume    corev1.VolumeSource
		fails     bool
		low, high int
	}{
		"nothing of the API": {volume: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		"a ConfigMap":        {volume: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named("c")}}, low: 5, high: 6},
		"one that fails":     {volume: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named("c")}}, fails: true, low: 20, high: 31},
		"labels":             {volume: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{label}}}, low: 5, high: 6},
		"limits":             {volume: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{limit}}}, low: 28, high: 31},
		"a long token":       {volume: token(ptr.To[int64](3607)), low: 5, high: 6},
		"a short token":      {volume: token(ptr.To[int64](600)), low: 28, high: 31},
		"a trust bundle":     {volume: projecting(corev1.VolumeProjection{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{}}), low: 28, high: 31},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.start()
				defer func() { r.stop() }()
				r.create(showing(c.volume))
				r.after(time.Second)
				r.wantRunning("web")
				if c.fails {
					r.world.locked(func() { r.world.faults["prepare"] = func() error { return context.DeadlineExceeded } })
				}
				first := r.world.count("prepare")
				r.after(30 * time.Minute)
				if n := r.world.count("prepare") - first; n < c.low || n > c.high {
					t.Errorf("brought up to date %d times in half an hour", n)
				}
				r.wantRunning("web")
			})
		})
	}
}

// TestVolumesFollowWhatTheyShow counts how often volumes are brought up to date
// within a second after something changed.
func TestVolumesFollowWhatTheyShow(t *testing.T) {
	core := func(r *rig) (context.Context, func(error)) {
		return r.t.Context(), func(err error) {
			if err != nil {
				r.t.Fatal(err)
			}
		}
	}
	write := func(r *rig, m *corev1.ConfigMap) {
		ctx, must := core(r)
		_, err := r.client.CoreV1().ConfigMaps(m.Namespace).Update(ctx, m, metav1.UpdateOptions{})
		must(err)
	}
	for name, c := range map[string]struct {
		change func(r *rig)
		want   int
	}{
		"its ConfigMap changes":                 {func(r *rig) { write(r, configMap("default", "c", "2")) }, 1},
		"another one does":                      {func(r *rig) { write(r, configMap("default", "other", "2")) }, 0},
		"one of that name in another namespace": {func(r *rig) { write(r, configMap("elsewhere", "c", "2")) }, 0},
		"it is deleted": {func(r *rig) {
			ctx, must := core(r)
			must(r.client.CoreV1().ConfigMaps("default").Delete(ctx, "c", metav1.DeleteOptions{}))
		}, 1},
		"a Secret of that name is made": {func(r *rig) {
			ctx, must := core(r)
			_, err := r.client.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, metav1.CreateOptions{})
			must(err)
		}, 0},
		"a Secret that it may have is made": {func(r *rig) {
			ctx, must := core(r)
			_, err := r.client.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{})
			must(err)
		}, 1},
		"the pod has a new label": {func(r *rig) {
			ctx, must := core(r)
			p := r.get("web")
			p.Labels = map[string]string{"new": "label"}
			_, err := r.client.CoreV1().Pods("default").Update(ctx, p, metav1.UpdateOptions{})
			must(err)
		}, 1},
		// The second comes while the first is being written, which may have
		// read the ConfigMap before.
		"twice at the same time": {func(r *rig) {
			write(r, configMap("default", "c", "2"))
			r.after(opTime / 2)
			write(r, configMap("default", "c", "3"))
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				for _, m := range []*corev1.ConfigMap{configMap("default", "c", "1"), configMap("default", "other", "1"), configMap("elsewhere", "c", "1")} {
					if err := r.client.Tracker().Add(m); err != nil {
						t.Fatal(err)
					}
				}
				r.start()
				defer func() { r.stop() }()
				p := showing(projecting(corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: named("c")}}))
				p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "s", VolumeSource: corev1.VolumeSource{
					Secret: &corev1.SecretVolumeSource{SecretName: "s", Optional: ptr.To(true)},
				}})
				r.create(p)
				r.after(time.Second)
				first := r.world.count("prepare")
				c.change(r)
				r.after(time.Second)
				if n := r.world.count("prepare") - first; n != c.want {
					t.Errorf("brought up to date %d times, want %d", n, c.want)
				}
				r.wantRunning("web")
			})
		})
	}
}
