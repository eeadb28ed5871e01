package eviction_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/carob-project/carob/pkg/eviction"
)

const mi = 1 << 20

func storage(amount string) corev1.ResourceRequirements {
	if amount == "" {
		return corev1.ResourceRequirements{}
	}
	return corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(amount)}}
}

// storagePod has two containers with these limits and an emptyDir with another.
func storagePod(a, b, dir string) *corev1.Pod {
	p := &corev1.Pod{}
	p.Spec.Containers = []corev1.Container{{Name: "a", Resources: storage(a)}, {Name: "b", Resources: storage(b)}}
	e := &corev1.EmptyDirVolumeSource{}
	if dir != "" {
		q := resource.MustParse(dir)
		e.SizeLimit = &q
	}
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: e}}}
	return p
}

func used(rootA, logA, rootB, dir int64) eviction.PodUse {
	return eviction.PodUse{
		Containers: []eviction.ContainerUse{
			{Name: "a", Rootfs: eviction.Disk{Bytes: rootA}, Logs: eviction.Disk{Bytes: logA}},
			{Name: "b", Rootfs: eviction.Disk{Bytes: rootB}},
		},
		Volumes: map[string]eviction.Disk{"v": {Bytes: dir}},
	}
}

func TestOverLimit(t *testing.T) {
	sidecar := corev1.ContainerRestartPolicyAlways
	for name, tc := range map[string]struct {
		pod   *corev1.Pod
		use   eviction.PodUse
		ownFS bool
		want  string
	}{
		"none":         {pod: storagePod("", "", ""), use: used(9*mi, 9*mi, 9*mi, 9*mi)},
		"within":       {pod: storagePod("1Mi", "1Mi", "1Mi"), use: used(mi/2, mi/2, mi/2, mi/2)},
		"exactly":      {pod: storagePod("1Mi", "1Mi", "1Mi"), use: used(mi/2, mi/2, 0, mi)},
		"volume first": {pod: storagePod("1Mi", "1Mi", "1Mi"), use: used(9*mi, 0, 0, 2*mi), want: `Usage of EmptyDir volume "v" exceeds the limit "1Mi". `},
		"container": {
			pod: storagePod("1Mi", "5Mi", ""), use: used(mi, mi, 0, 0),
			want: `Container a exceeded its local ephemeral storage limit "1Mi". `,
		},
		"sum": {
			pod: storagePod("1Mi", "5Mi", ""), use: used(0, 0, 4*mi, 3*mi),
			want: "Pod ephemeral local storage usage exceeds the total limit of containers 6Mi. ",
		},
		"of one that has no limit": {
			pod: storagePod("1Mi", "", ""), use: used(0, 0, 2*mi, 0),
			want: "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
		},
		"layers elsewhere":  {pod: storagePod("1Mi", "5Mi", ""), use: used(2*mi, 0, 0, 0), ownFS: true},
		"logs beside those": {pod: storagePod("1Mi", "5Mi", ""), use: used(0, 2*mi, 0, 0), ownFS: true, want: `Container a exceeded its local ephemeral storage limit "1Mi". `},
	} {
		t.Run(name, func(t *testing.T) {
			if got := eviction.OverLimit(tc.pod, tc.use, tc.ownFS); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
	p := storagePod("9Mi", "", "")
	p.Spec.InitContainers = []corev1.Container{{Name: "i", Resources: storage("1Mi")}, {Name: "s", Resources: storage("1Mi"), RestartPolicy: &sidecar}}
	use := eviction.PodUse{Containers: []eviction.ContainerUse{{Name: "i", Rootfs: eviction.Disk{Bytes: 2 * mi}}}}
	if got := eviction.OverLimit(p, use, false); got != "" {
		t.Errorf("an init container: %q", got)
	}
	use.Containers[0].Name = "s"
	if got := eviction.OverLimit(p, use, false); got != `Container s exceeded its local ephemeral storage limit "1Mi". ` {
		t.Errorf("a sidecar: %q", got)
	}
	if eviction.Limited(storagePod("", "", "0")) || !eviction.Limited(storagePod("", "", "1")) || !eviction.Limited(storagePod("", "1", "")) {
		t.Error("what has a limit to watch is mistaken")
	}
}

// A pod is ended only for a limit that it has, and using less never ends one
// that using more does not.
func TestOverLimitProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	amount := func() string { return []string{"", "1Mi", "2Mi", "5Mi"}[rnd.IntN(4)] }
	for range 5000 {
		p := storagePod(amount(), amount(), amount())
		n := [4]int64{rnd.Int64N(4 * mi), rnd.Int64N(4 * mi), rnd.Int64N(4 * mi), rnd.Int64N(4 * mi)}
		why := eviction.OverLimit(p, used(n[0], n[1], n[2], n[3]), false)
		if why != "" && !eviction.Limited(p) {
			t.Fatalf("without any limit: %q", why)
		}
		if strings.HasPrefix(why, "Container") && !eviction.LimitsStorage(p) {
			t.Fatalf("without a container's limit: %q", why)
		}
		if less := eviction.OverLimit(p, used(n[0]/2, n[1]/2, n[2]/2, n[3]/2), false); less != "" && why == "" {
			t.Fatalf("half of what is fine is too much: %q", less)
		}
	}
}
