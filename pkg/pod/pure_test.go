package pod_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "1", "B": "two words", "EMPTY": "", "DOLLAR": "$(A)"}
	for in, want := range map[string]string{
		"":                "",
		"plain":           "plain",
		"$(A)":            "1",
		"x$(A)y$(B)z":     "x1ytwo wordsz",
		"$(EMPTY)":        "",
		"$(UNKNOWN)":      "$(UNKNOWN)",
		"$(UNKNOWN)$(A)":  "$(UNKNOWN)1",
		"$$(A)":           "$(A)",
		"$$$(A)":          "$1",
		"$$$$(A)":         "$$(A)",
		"$":               "$",
		"$$":              "$",
		"a$":              "a$",
		"$A":              "$A",
		"${A}":            "${A}",
		"$(A":             "$(A",
		"$(A$(B)":         "$(A$(B)",
		"$()":             "$()",
		"$(DOLLAR)":       "$(A)",
		"cost: 5$ $(A)":   "cost: 5$ 1",
		"$( A )":          "$( A )",
		"ünï $(A) $(B) ✓": "ünï 1 two words ✓",
	} {
		if got := pod.Expand(in, vars); !reflect.DeepEqual(got, want) {
			t.Errorf("Expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("$(A) $$(A) $(")
	f.Fuzz(func(t *testing.T, s string) {
		if got := pod.Expand(s, nil); strings.Count(s, "$$") == 0 && got != s {
			t.Errorf("%q became %q without any variable", s, got)
		}
		pod.Expand(s, map[string]string{"A": s})
	})
}

func TestRequest(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	p.Spec.InitContainers = podtest.NewPod("", "i").Spec.Containers
	c := &p.Spec.Containers[0]
	c.Command, c.Args, c.WorkingDir = []string{"run", "$(N)"}, []string{"$$(N)", "$(M)"}, "/w"
	c.Env = []corev1.EnvVar{{Name: "N", Value: "5"}}
	got, err := pod.Request(p, pod.RequestArgs{
		Container: "a", Number: 2, Streak: 1, Sandbox: pod.Sandbox{ShmPath: "/shm"},
		Mounts: []pod.Mount{{HostPath: "/h"}}, Stdout: "/out", Stderr: "/err", NodeMemory: 1 << 30,
		Env: []pod.EnvVar{{Name: "N", Value: "5"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := pod.CreateRequest{
		Pod: pod.RefOf(p), Container: "a", Number: 2, Streak: 1, SpecHash: pod.SpecHash(c), Applied: pod.AppliedFor(p, c), ImageName: c.Image,
		Command: []string{"run", "5"}, Args: []string{"$(N)", "$(M)"}, WorkingDir: "/w", Env: []pod.EnvVar{{Name: "N", Value: "5"}},
		Mounts: []pod.Mount{{HostPath: "/h"}}, Sandbox: pod.Sandbox{ShmPath: "/shm"}, Hostname: "p",
		Resources: pod.Resources{CPUShares: 2}, Stdout: "/out", Stderr: "/err", OOMScoreAdj: 1000,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got, err := pod.Request(p, pod.RequestArgs{Container: "i"}); err != nil || !got.Init || got.Command != nil {
		t.Errorf("init: %+v, %v", got, err)
	}
	if _, err := pod.Request(p, pod.RequestArgs{Container: "none"}); !errors.Is(err, pod.ErrConfig) {
		t.Errorf("unknown container: %v", err)
	}
}

func TestSpecHash(t *testing.T) {
	base := func() *corev1.Container {
		return &corev1.Container{
			Name: "a", Image: "x:1", Command: []string{"c"}, Args: []string{"d"}, WorkingDir: "/w",
			Env:          []corev1.EnvVar{{Name: "N", Value: "1"}},
			VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}},
			Resources:    corev1.ResourceRequirements{Limits: quantities("cpu", "1", "memory", "1Gi")},
		}
	}
	hash := pod.SpecHash(base())
	// Running containers carry this hash: if it changes, an upgrade restarts
	// every one of them.
	if hash != "97ebbec085ad66bc" {
		t.Errorf("the hash of an old spec changed to %s", hash)
	}
	for name, change := range map[string]func(*corev1.Container){
		"image":      func(c *corev1.Container) { c.Image = "x:2" },
		"command":    func(c *corev1.Container) { c.Command = []string{"c", "d"}; c.Args = nil },
		"workingDir": func(c *corev1.Container) { c.WorkingDir = "/" },
		"env":        func(c *corev1.Container) { c.Env[0].Value = "2" },
		"mount":      func(c *corev1.Container) { c.VolumeMounts[0].ReadOnly = true },
		"subPath":    func(c *corev1.Container) { c.VolumeMounts[0].SubPath = "s" },
	} {
		c := base()
		if change(c); pod.SpecHash(c) == hash {
			t.Errorf("%s does not change the hash", name)
		}
	}
	for name, change := range map[string]func(*corev1.Container){
		"memory":          func(c *corev1.Container) { c.Resources.Limits = quantities("cpu", "1", "memory", "2Gi") },
		"cpu":             func(c *corev1.Container) { c.Resources.Limits = quantities("cpu", "2", "memory", "1Gi") },
		"imagePullPolicy": func(c *corev1.Container) { c.ImagePullPolicy = corev1.PullAlways },
		"port":            func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{ContainerPort: 80}} },
	} {
		c := base()
		if change(c); pod.SpecHash(c) != hash {
			t.Errorf("%s changes the hash", name)
		}
	}
}

func TestResourcesFor(t *testing.T) {
	for _, tc := range []struct {
		name             string
		requests, limits corev1.ResourceList
		want             pod.Resources
	}{
		{"nothing", nil, nil, pod.Resources{CPUShares: 2}},
		{"request", quantities("cpu", "500m", "memory", "1Gi"), nil, pod.Resources{CPUShares: 512}},
		{"limit stands in", nil, quantities("cpu", "2"), pod.Resources{CPUShares: 2048, CPUQuota: 200000, CPUPeriod: 100000}},
		{"zero request", quantities("cpu", "0"), quantities("cpu", "1"), pod.Resources{CPUShares: 2, CPUQuota: 100000, CPUPeriod: 100000}},
		{"least", quantities("cpu", "1m"), quantities("cpu", "1m", "memory", "16Mi"),
			pod.Resources{CPUShares: 2, CPUQuota: 1000, CPUPeriod: 100000, MemoryLimit: 16 << 20}},
		{"most", quantities("cpu", "1000"), nil, pod.Resources{CPUShares: 262144}},
	} {
		c := &corev1.Container{Resources: corev1.ResourceRequirements{Requests: tc.requests, Limits: tc.limits}}
		if got := pod.ResourcesFor(&corev1.Pod{}, c); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func TestPodResources(t *testing.T) {
	p := podtest.NewPod("", "a", "b")
	p.Spec.InitContainers = podtest.NewPod("", "i").Spec.Containers
	p.Spec.InitContainers[0].Resources.Limits = quantities("cpu", "2", "memory", "64Mi")
	p.Spec.Containers[0].Resources.Limits = quantities("cpu", "500m", "memory", "64Mi")
	p.Spec.Containers[1].Resources.Limits = quantities("cpu", "500m", "memory", "64Mi")
	if got, want := pod.PodResources(p), (pod.Resources{CPUShares: 2048, CPUQuota: 200000, CPUPeriod: 100000, MemoryLimit: 128 << 20}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	p.Spec.Containers[1].Resources.Limits = nil
	if got, want := pod.PodResources(p), (pod.Resources{CPUShares: 2048}); !reflect.DeepEqual(got, want) {
		t.Errorf("with an unlimited container: %+v, want %+v", got, want)
	}
}

func TestQOSClassAndItsConsequences(t *testing.T) {
	both := quantities("cpu", "1", "memory", "256Mi")
	for _, tc := range []struct {
		name             string
		requests, limits corev1.ResourceList
		class            corev1.PodQOSClass
		score            int
		cgroup           string
	}{
		{"none", nil, nil, corev1.PodQOSBestEffort, 1000, "kubepods/besteffort/pod0000-1111"},
		{"equal", both, both, corev1.PodQOSGuaranteed, -997, "kubepods/pod0000-1111"},
		{"limits only", nil, both, corev1.PodQOSGuaranteed, -997, "kubepods/pod0000-1111"},
		{"requests only", both, nil, corev1.PodQOSBurstable, 750, "kubepods/burstable/pod0000-1111"},
		{"memory limit only", nil, quantities("memory", "512Mi"), corev1.PodQOSBurstable, 500, "kubepods/burstable/pod0000-1111"},
		{"unequal", quantities("cpu", "1", "memory", "128Mi"), both, corev1.PodQOSBurstable, 875, "kubepods/burstable/pod0000-1111"},
		{"tiny", quantities("memory", "1"), nil, corev1.PodQOSBurstable, 999, "kubepods/burstable/pod0000-1111"},
		{"all", quantities("memory", "1Gi"), nil, corev1.PodQOSBurstable, 3, "kubepods/burstable/pod0000-1111"},
	} {
		p := podtest.NewPod("", "a")
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: tc.requests, Limits: tc.limits}
		if got := pod.QOSClass(p); got != tc.class {
			t.Errorf("%s: class %s, want %s", tc.name, got, tc.class)
		}
		if got := pod.OOMScoreAdj(p, &p.Spec.Containers[0], 1<<30); got != tc.score {
			t.Errorf("%s: score %d, want %d", tc.name, got, tc.score)
		}
		if got := pod.CgroupName(p); got != tc.cgroup {
			t.Errorf("%s: cgroup %s", tc.name, got)
		}
	}
	p := podtest.NewPod("", "a")
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	if got := pod.OOMScoreAdj(p, &p.Spec.Containers[0], 0); got != 999 {
		t.Errorf("unknown memory: score %d", got)
	}
}

func TestHostname(t *testing.T) {
	p := podtest.NewPod("", "a")
	if got := pod.Hostname(p); got != "p" {
		t.Errorf("hostname %q", got)
	}
	p.Name = strings.Repeat("n", 62) + "-.x"
	if got := pod.Hostname(p); got != strings.Repeat("n", 62) {
		t.Errorf("hostname %q", got)
	}
	p.Spec.SetHostnameAsFQDN = ptr.To(true)
	if got, err := pod.KernelHostname(p); err != nil || got != strings.Repeat("n", 62) {
		t.Errorf("without a subdomain: %q, %v", got, err)
	}
	p.Spec.Hostname = "web"
	if got := pod.FQDN(p, "cluster.local"); got != "" {
		t.Errorf("FQDN %q", got)
	}
	p.Spec.Subdomain = "site"
	if got := pod.FQDN(p, "cluster.local"); pod.Hostname(p) != "web" || got != "web.site.ns.svc.cluster.local" {
		t.Errorf("FQDN %q", got)
	}
	if got, err := pod.KernelHostname(p); err != nil || got != "web.site.ns.svc.cluster.local" || pod.HostnameOn(p, "node") != got {
		t.Errorf("%q, %v", got, err)
	}
	p.Spec.Subdomain = strings.Repeat("s", 39)
	if got, err := pod.KernelHostname(p); err != nil || len(got) != 64 {
		t.Errorf("%q, %v", got, err)
	}
	p.Spec.Subdomain += "s"
	_, err := pod.KernelHostname(p)
	if want := "failed to construct FQDN from pod hostname and cluster domain, FQDN web." + p.Spec.Subdomain +
		".ns.svc.cluster.local is too long (64 characters is the max, 65 characters requested)"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	p.Spec.HostNetwork = true
	if got := pod.HostnameOn(p, "node"); got != "node" {
		t.Errorf("in the node's network: %q", got)
	}
	p.Spec.HostNetwork, p.Spec.SetHostnameAsFQDN, p.Spec.HostnameOverride = false, nil, ptr.To("build.example.com")
	if got, err := pod.KernelHostname(p); err != nil || got != "build.example.com" || pod.FQDN(p, "cluster.local") != "" {
		t.Errorf("overridden: %q, %v", got, err)
	}
}
