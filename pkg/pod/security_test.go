package pod_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func TestSecurityFor(t *testing.T) {
	local := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr.To("a.json")}
	for name, tc := range map[string]struct {
		pod       *corev1.PodSecurityContext
		container *corev1.SecurityContext
		want      pod.Security
	}{
		"nothing": {},
		"the pod's": {
			pod: &corev1.PodSecurityContext{
				RunAsUser: ptr.To[int64](1), RunAsGroup: ptr.To[int64](2), RunAsNonRoot: ptr.To(true), FSGroup: ptr.To[int64](3),
				SupplementalGroups: []int64{4}, SupplementalGroupsPolicy: ptr.To(corev1.SupplementalGroupsPolicyStrict), SeccompProfile: local,
			},
			want: pod.Security{
				RunAsUser: ptr.To[int64](1), RunAsGroup: ptr.To[int64](2), RunAsNonRoot: true, SupplementalGroups: []int64{3, 4},
				StrictGroups: true, SeccompProfile: "a.json",
			},
		},
		"the container's wins": {
			pod: &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](1), RunAsNonRoot: ptr.To(true), SeccompProfile: local},
			container: &corev1.SecurityContext{
				RunAsUser: ptr.To[int64](0), RunAsNonRoot: ptr.To(false), AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined},
				Capabilities:   &corev1.Capabilities{Add: []corev1.Capability{"cap_net_admin"}, Drop: []corev1.Capability{"all"}},
			},
			want: pod.Security{
				RunAsUser: ptr.To[int64](0), NoNewPrivileges: true, ReadOnlyRoot: true, Unconfined: true,
				AddCapabilities: []string{"NET_ADMIN"}, DropCapabilities: []string{"ALL"},
			},
		},
		"privileged has no filter": {
			pod:       &corev1.PodSecurityContext{SeccompProfile: local, FSGroup: ptr.To[int64](3), SupplementalGroups: []int64{3}},
			container: &corev1.SecurityContext{Privileged: ptr.To(true)},
			want:      pod.Security{Privileged: true, Unconfined: true, SupplementalGroups: []int64{3}},
		},
	} {
		p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
		p.Spec.SecurityContext, p.Spec.Containers[0].SecurityContext = tc.pod, tc.container
		if d := cmp.Diff(tc.want, pod.SecurityFor(p, &p.Spec.Containers[0])); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestCheckNonRoot(t *testing.T) {
	const where = ` (pod: "p_ns(u)", container: c)`
	for _, tc := range []struct {
		user  *int64
		image string
		want  string
	}{
		{nil, "1000", ""}, {nil, "1000:0", ""}, {ptr.To[int64](5), "root", ""},
		{nil, "", "container has runAsNonRoot and image will run as root" + where},
		{nil, "0:5", "container has runAsNonRoot and image will run as root" + where},
		{ptr.To[int64](0), "5", "container's runAsUser breaks non-root policy" + where},
		{nil, "web:web", "container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root" + where},
	} {
		r := &pod.CreateRequest{
			Pod: pod.Ref{Namespace: "ns", Name: "p", UID: "u"}, Container: "c",
			Security: pod.Security{RunAsNonRoot: true, RunAsUser: tc.user},
		}
		err := pod.CheckNonRoot(r, tc.image)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || err.Error() != tc.want || !errors.Is(err, pod.ErrConfig)) {
			t.Errorf("%v %q: %v, want %q", tc.user, tc.image, err, tc.want)
		}
		r.Security.RunAsNonRoot = false
		if err := pod.CheckNonRoot(r, tc.image); err != nil {
			t.Error(err)
		}
	}
}

func TestSysctls(t *testing.T) {
	for in, want := range map[string]string{
		"a.b/c": "a.b/c", "a/b.c": "a.b/c", "net/ipv4/tcp_rmem": "net.ipv4.tcp_rmem", "plain": "plain",
	} {
		if got := pod.SysctlName(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	if got := pod.ForbiddenSysctl(p); got != "" {
		t.Error(got)
	}
	p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "net/ipv4/tcp_rmem", Value: "1"}}}
	if got := pod.ForbiddenSysctl(p); got != "" || pod.Sysctls(p)[0].Name != "net.ipv4.tcp_rmem" {
		t.Error(got)
	}
	p.Spec.SecurityContext.Sysctls = append(p.Spec.SecurityContext.Sysctls, corev1.Sysctl{Name: "kernel.msgmax"})
	if got := pod.ForbiddenSysctl(p); got != `forbidden sysctl: "kernel.msgmax" not allowlisted` {
		t.Error(got)
	}
}
