package pod

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestCommonUser(t *testing.T) {
	as := func(u int64) *corev1.SecurityContext { return &corev1.SecurityContext{RunAsUser: &u} }
	general := func(u int64) *corev1.PodSecurityContext { return &corev1.PodSecurityContext{RunAsUser: &u} }
	for name, c := range map[string]struct {
		pod        *corev1.PodSecurityContext
		init, main *corev1.SecurityContext
		want       int64
	}{
		"nothing said":    {nil, nil, nil, -1},
		"of the pod":      {general(7), nil, nil, 7},
		"all say so":      {nil, as(8), as(8), 8},
		"one does not":    {nil, nil, as(8), -1},
		"they differ":     {general(7), as(8), nil, -1},
		"all but the pod": {general(7), as(8), as(8), 8},
	} {
		p := &corev1.Pod{Spec: corev1.PodSpec{
			SecurityContext: c.pod,
			InitContainers:  []corev1.Container{{SecurityContext: c.init}},
			Containers:      []corev1.Container{{SecurityContext: c.main}},
		}}
		got := int64(-1)
		if u := CommonUser(p); u != nil {
			got = *u
		}
		if got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestServicesAreTold(t *testing.T) {
	c := &corev1.Container{Name: "c", Env: []corev1.EnvVar{
		{Name: "URL", Value: "$(KUBERNETES_PORT)/x"}, {Name: "KUBERNETES_SERVICE_HOST", Value: "elsewhere"},
	}}
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{*c}}}
	env, err := EnvFor(p, c, EnvSources{Services: ServiceEnv("kubernetes", "https", "10.96.0.1", 443)})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range env.Vars {
		got[v.Name] = v.Value
	}
	for name, want := range map[string]string{
		"URL": "tcp://10.96.0.1:443/x", "KUBERNETES_SERVICE_HOST": "elsewhere", "KUBERNETES_SERVICE_PORT": "443",
		"KUBERNETES_SERVICE_PORT_HTTPS": "443", "KUBERNETES_PORT_443_TCP": "tcp://10.96.0.1:443",
		"KUBERNETES_PORT_443_TCP_PROTO": "tcp", "KUBERNETES_PORT_443_TCP_PORT": "443", "KUBERNETES_PORT_443_TCP_ADDR": "10.96.0.1",
	} {
		if got[name] != want {
			t.Errorf("%s=%q, want %q", name, got[name], want)
		}
	}
	if len(got) != 9 {
		t.Errorf("%v", got)
	}
}
