package pod

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func TestOldAppArmorBecomesTheField(t *testing.T) {
	unconfined := &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	byDefault := &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	for name, c := range map[string]struct {
		old          string
		general, own *corev1.AppArmorProfile
		want         *corev1.AppArmorProfile
		warned       bool
	}{
		"unconfined":                {old: "unconfined", want: unconfined, warned: true},
		"the runtime's":             {old: "runtime/default", want: byDefault, warned: true},
		"a profile of the node":     {old: "localhost/x", want: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: ptr.To("x")}, warned: true},
		"one without a name":        {old: "localhost/", warned: true},
		"nothing":                   {old: "", warned: true},
		"unlike the pod's":          {old: "unconfined", general: byDefault, want: unconfined, warned: true},
		"like the pod's":            {old: "unconfined", general: unconfined},
		"the container has its own": {old: "unconfined", own: unconfined, want: unconfined},
	} {
		p := &corev1.Pod{}
		p.Annotations = map[string]string{corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "a": c.old}
		p.Spec.Containers = []corev1.Container{{Name: "a"}, {Name: "b"}}
		if c.general != nil {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{AppArmorProfile: c.general}
		}
		if c.own != nil {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{AppArmorProfile: c.own}
		}
		warnings := adoptOldAppArmor(p)
		var got *corev1.AppArmorProfile
		if sc := p.Spec.Containers[0].SecurityContext; sc != nil {
			got = sc.AppArmorProfile
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
		if (len(warnings) == 1) != c.warned {
			t.Errorf("%s: warnings %q", name, warnings)
		}
		if p.Spec.Containers[1].SecurityContext != nil {
			t.Errorf("%s: the other container changed", name)
		}
	}
}
