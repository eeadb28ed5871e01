package pod_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func TestSecurityModules(t *testing.T) {
	const annotation = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "a"
	local := &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: ptr.To("mine")}
	standard := &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	none := &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	const off = "AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host"
	for name, tc := range map[string]struct {
		pod, container *corev1.AppArmorProfile
		note           string
		labels         bool
		with, without  string
		want           pod.AppArmor
	}{
		"nothing":              {},
		"unconfined":           {pod: none, want: pod.AppArmor{Unconfined: true}},
		"of the pod":           {pod: standard, without: off, want: pod.AppArmor{Required: true}},
		"the container's wins": {pod: standard, container: none, without: off, want: pod.AppArmor{Unconfined: true}},
		"local":                {container: local, without: off, want: pod.AppArmor{Profile: "mine", Required: true}},
		"old way":              {note: "localhost/old", without: off, want: pod.AppArmor{Profile: "old", Required: true}},
		"old way, default":     {note: "runtime/default", pod: none, without: off, want: pod.AppArmor{Required: true}},
		"old way, none":        {note: "unconfined", want: pod.AppArmor{Unconfined: true}},
		"no name": {note: "localhost/", without: off, want: pod.AppArmor{Required: true},
			with: "AppArmor: Cannot enforce AppArmor: invalid empty AppArmor profile name: "},
		"labels": {labels: true, with: "SELinux: Cannot enforce SELinux: the policy of this node has no labels for containers"},
	} {
		t.Run(name, func(t *testing.T) {
			p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
			p.Spec.SecurityContext = &corev1.PodSecurityContext{AppArmorProfile: tc.pod}
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{AppArmorProfile: tc.container}
			if tc.note != "" {
				p.Annotations = map[string]string{annotation: tc.note}
			}
			if tc.labels {
				p.Spec.SecurityContext.SELinuxOptions = &corev1.SELinuxOptions{Level: "s0"}
			}
			for _, node := range []struct {
				modules pod.SecurityModules
				want    string
			}{{pod.SecurityModules{}, tc.without}, {pod.SecurityModules{AppArmor: true, SELinux: true}, tc.with}} {
				reason, message := pod.ForbiddenModules(p, node.modules)
				got := strings.TrimPrefix(reason+": "+message, ": ")
				if !strings.HasPrefix(got, node.want) || node.want == "" && got != "" {
					t.Errorf("%+v: %q, want %q", node.modules, got, node.want)
				}
			}
			if reason, message := pod.ForbiddenModules(p, pod.SecurityModules{AppArmor: true, SELinux: true, Labels: true}); reason == "SELinux" {
				t.Errorf("with labels: %s: %s", reason, message)
			}
			if got := pod.SecurityFor(p, &p.Spec.Containers[0]).AppArmor; got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestSELinuxOptions(t *testing.T) {
	pair := corev1.SELinuxOptions{Type: "t", Level: "s0:c1,c2"}
	other := corev1.SELinuxOptions{Level: "s0:c3"}
	for name, tc := range map[string]struct {
		pod, container *corev1.SELinuxOptions
		want           corev1.SELinuxOptions
	}{
		"nothing":              {},
		"of the pod":           {pod: &pair, want: pair},
		"of the container":     {container: &other, want: other},
		"the container's wins": {pod: &pair, container: &other, want: other},
		"empty ones are none":  {pod: &pair, container: &corev1.SELinuxOptions{}, want: pair},
	} {
		t.Run(name, func(t *testing.T) {
			p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
			p.Spec.SecurityContext = &corev1.PodSecurityContext{SELinuxOptions: tc.pod}
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{SELinuxOptions: tc.container}
			if got := pod.SecurityFor(p, &p.Spec.Containers[0]).SELinux; got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
			reason, _ := pod.ForbiddenModules(p, pod.SecurityModules{SELinux: true})
			if (reason == "SELinux") != (tc.want != corev1.SELinuxOptions{}) {
				t.Errorf("where there are no labels: %q", reason)
			}
			var ofPod corev1.SELinuxOptions
			if tc.pod != nil {
				ofPod = *tc.pod
			}
			if got := pod.HolderRequest(p, 0, pod.Sandbox{}, "", "node").Security.SELinux; got != ofPod {
				t.Errorf("the holder has %+v", got)
			}
		})
	}
}
