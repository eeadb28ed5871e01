package pod_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func envPod() *corev1.Pod {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a", "b")
	p.Namespace, p.Name = "ns", "p"
	p.Labels = map[string]string{"tier": "demo"}
	p.Spec.NodeName, p.Spec.ServiceAccountName = "n1", "default"
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{
		Limits: quantities("cpu", "1500m", "memory", "33Mi"), Requests: quantities("cpu", "250m"),
	}
	return p
}

func envSources() pod.EnvSources {
	return pod.EnvSources{
		ConfigMaps: map[string]*corev1.ConfigMap{"cm": {Data: map[string]string{"one": "1", "1two": "$(one)"}}},
		Secrets:    map[string]*corev1.Secret{"sec": {Data: map[string][]byte{"pw": []byte("x y")}}},
		PodIPs:     []string{"10.0.0.2", "fd00::2"}, HostIPs: []string{"192.0.2.1"},
		Allocatable: quantities("cpu", "4", "memory", "1Gi"),
	}
}

func field(path string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}
}

func amount(container, res, divisor string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{
		ContainerName: container, Resource: res, Divisor: resource.MustParse(divisor),
	}}
}

func configKey(name, key string, optional bool) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: ptr.To(optional),
	}}
}

func secretKey(name, key string, optional bool) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: ptr.To(optional),
	}}
}

func TestEnvFor(t *testing.T) {
	p := envPod()
	c := &p.Spec.Containers[0]
	c.Env = []corev1.EnvVar{
		{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)-$(C)"}, {Name: "C", Value: "3"}, {Name: "A", Value: "$(A)$(C)"},
	}
	got, err := pod.EnvFor(p, c, pod.EnvSources{})
	if err != nil {
		t.Fatal(err)
	}
	want := []pod.EnvVar{{Name: "A", Value: "13"}, {Name: "B", Value: "1-$(C)"}, {Name: "C", Value: "3"}}
	if d := cmp.Diff(want, got.Vars); d != "" {
		t.Error(d)
	}
}

func TestEnvFrom(t *testing.T) {
	p := envPod()
	c := &p.Spec.Containers[0]
	c.EnvFrom = []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}},
		{Prefix: "P_", SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "sec"}}},
		{Prefix: "a=", SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "sec"}}},
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "no"}, Optional: ptr.To(true)}},
	}
	// env wins over envFrom, and sees it; the values of objects are not expanded.
	c.Env = []corev1.EnvVar{{Name: "E", Value: "<$(one)$(P_pw)>"}, {Name: "one", Value: "uno"}}
	got, err := pod.EnvFor(p, c, envSources())
	if err != nil {
		t.Fatal(err)
	}
	want := pod.Env{
		Vars: []pod.EnvVar{
			{Name: "1two", Value: "$(one)"}, {Name: "one", Value: "uno"}, {Name: "P_pw", Value: "x y"}, {Name: "E", Value: "<1x y>"},
		},
		Skipped: []pod.SkippedNames{{Kind: "secret", Name: "sec", Names: []string{"a=pw"}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestEnvValueFrom(t *testing.T) {
	p := envPod()
	for name, tc := range map[string]struct {
		from *corev1.EnvVarSource
		want string // "-" for a variable that is left out
		err  string
	}{
		"name":               {from: field("metadata.name"), want: "p"},
		"namespace":          {from: field("metadata.namespace"), want: "ns"},
		"uid":                {from: field("metadata.uid"), want: string(p.UID)},
		"label":              {from: field("metadata.labels['tier']"), want: "demo"},
		"no annotation":      {from: field("metadata.annotations['no']"), want: ""},
		"node":               {from: field("spec.nodeName"), want: "n1"},
		"service account":    {from: field("spec.serviceAccountName"), want: "default"},
		"pod IP":             {from: field("status.podIP"), want: "10.0.0.2"},
		"pod IPs":            {from: field("status.podIPs"), want: "10.0.0.2,fd00::2"},
		"host IP":            {from: field("status.hostIP"), want: "192.0.2.1"},
		"host IPs":           {from: field("status.hostIPs"), want: "192.0.2.1"},
		"unknown field":      {from: field("spec.x"), err: "unsupported fieldPath: spec.x"},
		"own cpu":            {from: amount("", "limits.cpu", "0"), want: "2"},
		"cpu in millis":      {from: amount("", "limits.cpu", "1m"), want: "1500"},
		"request rounded up": {from: amount("a", "requests.cpu", "1"), want: "1"},
		"memory rounded up":  {from: amount("a", "limits.memory", "10Mi"), want: "4"},
		"no memory limit":    {from: amount("b", "limits.memory", "1Mi"), want: "1024"},
		"no cpu limit":       {from: amount("b", "limits.cpu", "1"), want: "4"},
		"no request":         {from: amount("b", "requests.memory", "1"), want: "0"},
		"no container":       {from: amount("c", "limits.cpu", "1"), err: "container c not found"},
		"key":                {from: configKey("cm", "one", false), want: "1"},
		"no ConfigMap":       {from: configKey("no", "k", false), err: `configmap "no" not found`},
		"no key":             {from: configKey("cm", "k", false), err: "couldn't find key k in ConfigMap ns/cm"},
		"optional ConfigMap": {from: configKey("no", "k", true), want: "-"},
		"optional key":       {from: configKey("cm", "k", true), want: "-"},
		"secret":             {from: secretKey("sec", "pw", false), want: "x y"},
		"no Secret":          {from: secretKey("no", "k", false), err: `secret "no" not found`},
		"no secret key":      {from: secretKey("sec", "k", false), err: "couldn't find key k in Secret ns/sec"},
		"optional Secret":    {from: secretKey("no", "k", true), want: "-"},
		"nothing":            {from: &corev1.EnvVarSource{}, err: "a variable's valueFrom has no source"},
	} {
		c := &p.Spec.Containers[0]
		c.Env = []corev1.EnvVar{{Name: "X", ValueFrom: tc.from}}
		got, err := pod.EnvFor(p, c, envSources())
		if tc.err != "" {
			if err == nil || err.Error() != tc.err || !errors.Is(err, pod.ErrConfig) {
				t.Errorf("%s: error %v, want %q", name, err, tc.err)
			}
			continue
		}
		var want []pod.EnvVar
		if tc.want != "-" {
			want = []pod.EnvVar{{Name: "X", Value: tc.want}}
		}
		if d := cmp.Diff(want, got.Vars); err != nil || d != "" {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
}

func TestEnvRefs(t *testing.T) {
	c := &corev1.Container{
		EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "z"}}}},
		Env: []corev1.EnvVar{
			{ValueFrom: configKey("a", "k", false)}, {ValueFrom: configKey("z", "k", false)}, {ValueFrom: secretKey("s", "k", false)}, {Value: "v"},
		},
	}
	configMaps, secrets := pod.EnvRefs(c)
	if d := cmp.Diff([][]string{{"a", "z"}, {"s"}}, [][]string{configMaps, secrets}); d != "" {
		t.Error(d)
	}
}

func TestWithSubPaths(t *testing.T) {
	p := envPod()
	if same, err := pod.WithSubPaths(p, "a", nil); err != nil || same != p {
		t.Errorf("%v %v", same, err)
	}
	env := []pod.EnvVar{{Name: "N", Value: "n1"}, {Name: "UP", Value: ".."}, {Name: "ROOT", Value: "/etc"}}
	for expr, want := range map[string]string{
		"logs/$(N)": "logs/n1", "$$(N)": "$(N)",
		"x/$(NO)":       `!missing value for NO`,
		"$(ROOT)/x":     "!error SubPath `/etc/x` must not be an absolute path",
		"x/$(UP)/$(UP)": "!unable to provision SubPath `x/../..`: must not contain '..'",
	} {
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v", SubPathExpr: expr}}
		q, err := pod.WithSubPaths(p, "a", env)
		got := ""
		if err != nil {
			got = "!" + err.Error()
		} else {
			got = q.Spec.Containers[0].VolumeMounts[0].SubPath
		}
		if got != want {
			t.Errorf("%s: %s, want %s", expr, got, want)
		}
		if p.Spec.Containers[0].VolumeMounts[0].SubPathExpr != expr {
			t.Error("the pod was changed")
		}
	}
}

// Only the container that tells the pod's IP waits for it.
func TestOnlyTheContainerThatTellsThePodIPWaitsForIt(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a", "b")
	p.Spec.Containers[1].Env = []corev1.EnvVar{{Name: "IP", ValueFrom: field("status.podIP")}}
	s := podtest.NewSim(p, epoch)
	s.Plan()
	s.FinishAll()
	wantSteps(t, s, "attach-network create-container/a#0")
	s.FinishAll()
	wantSteps(t, s, "start-container/a-0 create-container/b#0")
}

func TestHashKnowsWhereVariablesComeFrom(t *testing.T) {
	seen := map[string]bool{}
	for _, from := range []*corev1.EnvVarSource{
		nil, field("metadata.name"), amount("", "limits.cpu", "1"), configKey("a", "k", false), secretKey("a", "k", false),
	} {
		seen[pod.SpecHash(&corev1.Container{Env: []corev1.EnvVar{{Name: "X", ValueFrom: from}}})] = true
	}
	seen[pod.SpecHash(&corev1.Container{
		Env:     []corev1.EnvVar{{Name: "X"}},
		EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{}}},
	})] = true
	if len(seen) != 6 {
		t.Errorf("%d hashes of 6 containers", len(seen))
	}
}
