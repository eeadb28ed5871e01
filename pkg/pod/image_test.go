package pod_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

const (
	data = "example.test/data:1"
	more = "example.test/more:1"
)

// withImages is a pod of the containers a, which mounts the images of both its
// volumes, and b, which mounts none.
func withImages(policy corev1.PullPolicy) *corev1.Pod {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a", "b")
	for _, ref := range []string{data, more} {
		name := strings.TrimSuffix(strings.TrimPrefix(ref, "example.test/"), ":1")
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			Image: &corev1.ImageVolumeSource{Reference: ref, PullPolicy: policy},
		}})
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
	}
	return p
}

func TestImagesOfVolumesArePulledFirst(t *testing.T) {
	s := podtest.NewSim(withImages(corev1.PullIfNotPresent), epoch)
	wantSteps(t, s, "prepare-volumes create-sandbox pull-image/"+data+" pull-image/"+more+
		" pull-image/example.test/a:1 pull-image/example.test/b:1")
	for _, st := range s.Flights() {
		if st.Image == data {
			if st.Volume != "data" || st.Container != "" {
				t.Errorf("step %+v", st)
			}
			continue
		}
		s.Finish(st)
	}
	// The container that does not mount it goes on.
	wantSteps(t, s, "attach-network create-container/b#0")
	s.FinishAll()
	wantSteps(t, s, "create-container/a#0 start-container/b-0")
}

func TestImagesOfVolumesThatAreMissing(t *testing.T) {
	failed := func(count int) map[pod.StepID]pod.Failure {
		out := map[pod.StepID]pod.Failure{}
		for _, ref := range []string{data, more} {
			s := pod.Step{Kind: pod.StepPullImage, Image: ref}
			out[s.ID()] = pod.Failure{Count: count, At: epoch, Reason: pod.ReasonErrImagePull, Message: "no " + ref}
		}
		return out
	}
	for _, tc := range []struct {
		name            string
		policy          corev1.PullPolicy
		failures        map[pod.StepID]pod.Failure
		reason, message string
		notices         []string
	}{
		{"never", corev1.PullNever, nil, "ErrImageNeverPull", `Container image "example.test/more:1" is not present with pull policy of Never`,
			[]string{`ErrImageNeverPull: Container image "example.test/data:1" is not present with pull policy of Never`, "a Failed: Error: ErrImageNeverPull"}},
		{"backed off", corev1.PullIfNotPresent, failed(1), "ImagePullBackOff",
			`Back-off pulling image "example.test/more:1": ErrImagePull: no example.test/more:1`,
			[]string{`BackOff: Back-off pulling image "example.test/data:1"`, "a Failed: Error: ImagePullBackOff"}},
		{"being pulled", corev1.PullIfNotPresent, nil, "ContainerCreating", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := withImages(tc.policy)
			o := pod.Observed{
				Sandbox:      &pod.Sandbox{Attached: true, IPs: []string{"10.0.0.2"}, CreatedAt: epoch},
				VolumesReady: true, VolumesPresent: true, Failures: tc.failures,
				Images: map[string]pod.Image{"example.test/a:1": {ID: "a"}, "example.test/b:1": {ID: "b"}},
			}
			now := epoch.Add(6 * time.Second)
			d := pod.Plan(p, o, now)
			if got := names(d); !strings.Contains(got, "create-container/b#0") || strings.Contains(got, "create-container/a") {
				t.Errorf("steps %q", got)
			}
			told := map[string]bool{}
			for _, n := range d.Notices {
				told[strings.TrimSpace(n.Container+" "+n.Reason+": "+n.Message)] = true
				if n.Container == "b" {
					t.Errorf("a container that does not mount them: %+v", n)
				}
			}
			for _, want := range tc.notices {
				if !told[want] {
					t.Errorf("not told: %s, but %v", want, told)
				}
			}
			st := pod.Status(p, o, now).ContainerStatuses
			if w := st[0].State.Waiting; w == nil || w.Reason != tc.reason || w.Message != tc.message {
				t.Errorf("waiting %+v", w)
			}
			if w := st[1].State.Waiting; w == nil || w.Reason != "ContainerCreating" {
				t.Errorf("the other waits for %+v", w)
			}
		})
	}
}
