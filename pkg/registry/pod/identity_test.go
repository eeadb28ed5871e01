package pod

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func suffixed(prefix string) string { return prefix + "x1y2z" }

func TestEveryContainerGetsTheToken(t *testing.T) {
	p := parsePod(t, `spec:
  volumes: [{name: own, emptyDir: {}}]
  initContainers: [{name: i, image: x}]
  containers:
  - {name: a, image: x}
  - {name: b, image: x, volumeMounts: [{name: own, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}]}`)
	account := &corev1.ServiceAccount{ImagePullSecrets: []corev1.LocalObjectReference{{Name: "reg"}}}
	ApplyServiceAccount(&p.Spec, account, suffixed)
	const name = "kube-api-access-x1y2z"
	if len(p.Spec.Volumes) != 2 || p.Spec.Volumes[1].Name != name {
		t.Fatalf("%+v", p.Spec.Volumes)
	}
	want := corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenMountPath}
	for _, c := range []corev1.Container{p.Spec.InitContainers[0], p.Spec.Containers[0]} {
		if len(c.VolumeMounts) != 1 || c.VolumeMounts[0].String() != want.String() {
			t.Errorf("%s: %+v", c.Name, c.VolumeMounts)
		}
	}
	if m := p.Spec.Containers[1].VolumeMounts; len(m) != 1 || m[0].Name != "own" {
		t.Errorf("%+v", m)
	}
	if len(p.Spec.ImagePullSecrets) != 1 || p.Spec.ImagePullSecrets[0].Name != "reg" {
		t.Errorf("%+v", p.Spec.ImagePullSecrets)
	}
	before := p.Spec.Volumes[1].DeepCopy()
	SetDefaults(p)
	if before.String() != p.Spec.Volumes[1].String() {
		t.Errorf("defaults change the volume: %s, %s", before, &p.Spec.Volumes[1])
	}
	ApplyServiceAccount(&p.Spec, account, suffixed)
	if len(p.Spec.Volumes) != 2 || len(p.Spec.Containers[0].VolumeMounts) != 1 {
		t.Error("applied twice, it adds twice")
	}
}

func TestWhoWantsAToken(t *testing.T) {
	yes, no := ptr.To(true), ptr.To(false)
	for name, c := range map[string]struct {
		pod, account *bool
		want         bool
	}{
		"nothing said": {nil, nil, true}, "the account": {nil, no, false},
		"the pod": {no, yes, false}, "the pod, against its account": {yes, no, true},
	} {
		s := &corev1.PodSpec{AutomountServiceAccountToken: c.pod, Containers: []corev1.Container{{Name: "a"}}}
		ApplyServiceAccount(s, &corev1.ServiceAccount{AutomountServiceAccountToken: c.account}, suffixed)
		if got := len(s.Volumes) == 1; got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestOnlyMountable(t *testing.T) {
	account := &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: "till"}, Secrets: []corev1.ObjectReference{{Name: "good"}},
	}
	for spec, want := range map[string]string{
		`{volumes: [{name: v, secret: {secretName: good}}]}`:                                              "",
		`{volumes: [{name: v, secret: {secretName: bad}}]}`:                                               `volume with secret.secretName="bad"`,
		`{initContainers: [{name: i, env: [{name: E, valueFrom: {secretKeyRef: {name: bad, key: k}}}]}]}`: `init container i with envVar E referencing secret.secretName="bad"`,
		`{containers: [{name: c, envFrom: [{secretRef: {name: bad}}]}]}`:                                  `container c with envFrom referencing secret.secretName="bad"`,
		`{imagePullSecrets: [{name: bad}]}`:                                                               `imagePullSecrets[0].name="bad"`,
	} {
		err := OnlyMountable(&parsePod(t, "spec: "+spec).Spec, account)
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

func TestTokenSources(t *testing.T) {
	for source, want := range map[string]string{
		`{path: token, expirationSeconds: 600}`:        "",
		`{path: token}`:                                "",
		`{path: token, expirationSeconds: 599}`:        "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
		`{path: token, expirationSeconds: 4294967297}`: "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
		`{path: ""}`:   "spec.volumes[0].projected.path: Required value",
		`{path: ../x}`: `spec.volumes[0].projected.path: Invalid value: "../x": must not contain '..'`,
	} {
		p := parsePod(t, `spec: {volumes: [{name: v, projected: {sources: [{serviceAccountToken: `+source+`}]}}]}`)
		errs := create(t, p)
		if want == "" && len(errs) > 0 || want != "" && (len(errs) != 1 || errs[0].Error() != want) {
			t.Errorf("%s: %v", source, errs)
		}
	}
}
