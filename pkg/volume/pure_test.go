package volume

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/carob-project/carob/pkg/pod"
)

func ptr[T any](v T) *T { return &v }

func testPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web", Namespace: "shop", UID: "0b5c2c1e-uid",
			Labels:      map[string]string{"b": "2", "a": "1"},
			Annotations: map[string]string{"note": "two\nlines \"quoted\""},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "app",
			Resources: corev1.ResourceRequirements{
				Limits:   corev1.ResourceList{"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("100Mi")},
				Requests: corev1.ResourceList{"cpu": resource.MustParse("1m")},
			},
		}, {Name: "free"}}},
	}
}

func TestHostsText(t *testing.T) {
	const local = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
	for _, tc := range []struct {
		name   string
		change func(*corev1.PodSpec)
		ips    []string
		want   string
	}{
		{"no IP yet", func(*corev1.PodSpec) {}, nil, local},
		{"two families", func(*corev1.PodSpec) {}, []string{"10.0.0.5", "fd00::5"}, local + "10.0.0.5\tweb\nfd00::5\tweb\n"},
		{"own name", func(s *corev1.PodSpec) { s.Hostname = "front" }, []string{"10.0.0.5"}, local + "10.0.0.5\tfront\n"},
		{"subdomain", func(s *corev1.PodSpec) { s.Subdomain = "sub" }, []string{"10.0.0.5"},
			local + "10.0.0.5\tweb.sub.shop.svc.cluster.local\tweb\n"},
		{"overridden", func(s *corev1.PodSpec) { s.Subdomain, s.HostnameOverride = "sub", ptr("a.b") }, []string{"10.0.0.5"},
			local + "10.0.0.5\ta.b\n"},
		{"aliases", func(s *corev1.PodSpec) {
			s.HostAliases = []corev1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"a", "b.c"}}, {IP: "::9", Hostnames: []string{"d"}}}
		}, []string{"10.0.0.5"}, local + "10.0.0.5\tweb\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb.c\n::9\td\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := testPod()
			tc.change(&p.Spec)
			if d := cmp.Diff(tc.want, hostsText(p, tc.ips, "cluster.local")); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPodResolver(t *testing.T) {
	host := parseResolver("# comment\nnameserver 10.9.9.9\nsearch corp.example. example.\noptions timeout:3 rotate\nsortlist x\n")
	dns := []string{"10.96.0.10"}
	for _, tc := range []struct {
		name   string
		policy corev1.DNSPolicy
		dns    []string
		config *corev1.PodDNSConfig
		want   string
		cut    bool
	}{
		{name: "default", policy: corev1.DNSDefault, dns: dns,
			want: "search corp.example example\nnameserver 10.9.9.9\noptions timeout:3 rotate\n"},
		{name: "cluster first without a cluster DNS", policy: corev1.DNSClusterFirst,
			want: "search corp.example example\nnameserver 10.9.9.9\noptions timeout:3 rotate\n"},
		{name: "cluster first", policy: corev1.DNSClusterFirst, dns: dns,
			want: "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example example\nnameserver 10.96.0.10\noptions ndots:5\n"},
		{name: "with host network policy", policy: corev1.DNSClusterFirstWithHostNet, dns: dns,
			want: "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example example\nnameserver 10.96.0.10\noptions ndots:5\n"},
		{name: "none", policy: corev1.DNSNone, dns: dns, config: &corev1.PodDNSConfig{Nameservers: []string{"1.1.1.1"}},
			want: "nameserver 1.1.1.1\n"},
		{name: "merged", policy: corev1.DNSClusterFirst, dns: dns,
			config: &corev1.PodDNSConfig{
				Nameservers: []string{"10.96.0.10", "1.1.1.1"}, Searches: []string{"example", "more"},
				Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: ptr("2")}, {Name: "edns0"}},
			},
			want: "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example example more\n" +
				"nameserver 10.96.0.10\nnameserver 1.1.1.1\noptions ndots:2 edns0\n"},
		{name: "too many", policy: corev1.DNSNone, cut: true,
			config: &corev1.PodDNSConfig{Nameservers: []string{"1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"}},
			want:   "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := testPod()
			p.Spec.DNSPolicy, p.Spec.DNSConfig = tc.policy, tc.config
			r, cut := podResolver(p, host, tc.dns, "cluster.local")
			if d := cmp.Diff(tc.want, r.text()); d != "" || cut != tc.cut {
				t.Error(d, cut)
			}
		})
	}
	many := &corev1.PodDNSConfig{}
	for i := range 40 {
		many.Searches = append(many.Searches, strings.Repeat(string(rune('a'+i%26)), 70+i))
	}
	p := testPod()
	p.Spec.DNSPolicy, p.Spec.DNSConfig = corev1.DNSNone, many
	r, cut := podResolver(p, resolver{}, nil, "")
	if n := len(strings.Join(r.searches, " ")); !cut || n > maxSearchLength {
		t.Errorf("%d characters of search domains", n)
	}
	if !parseResolver("nameserver 127.0.0.53\n").local() || parseResolver("nameserver 127.0.0.53\nnameserver 9.9.9.9\n").local() || (resolver{}).local() {
		t.Error("local resolvers are not told from others")
	}
}

// FuzzParseResolver: whatever the node's file holds, what is made of it says the
// same when it is read again.
func FuzzParseResolver(f *testing.F) {
	f.Add("nameserver 1.1.1.1\nsearch a b\noptions x\n")
	f.Add("domain .\nsearch\nnameserver\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, _ := parseResolver(text).limited()
		again, cut := parseResolver(r.text()).limited()
		if d := cmp.Diff(r.text(), again.text()); d != "" && !strings.Contains(text, "..") || cut {
			t.Error(d)
		}
	})
}

func TestDownward(t *testing.T) {
	p := testPod()
	node := corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("1Gi")}
	for _, tc := range []struct {
		field, resource, container, divisor string
		want                                string
		bad                                 bool
	}{
		{field: "metadata.name", want: "web"},
		{field: "metadata.namespace", want: "shop"},
		{field: "metadata.uid", want: "0b5c2c1e-uid"},
		{field: "metadata.labels", want: "a=\"1\"\nb=\"2\""},
		{field: "metadata.annotations", want: `note="two\nlines \"quoted\""`},
		{field: "metadata.labels['a']", want: "1"},
		{field: "metadata.labels['missing']", want: ""},
		{field: "metadata.annotations['note']", want: "two\nlines \"quoted\""},
		{field: "spec.nodeName", bad: true},
		{field: "metadata.labels['']", bad: true},
		{resource: "limits.cpu", container: "app", want: "2"},
		{resource: "limits.cpu", container: "app", divisor: "1m", want: "1500"},
		{resource: "requests.cpu", container: "app", want: "1"},
		{resource: "limits.memory", container: "app", want: "104857600"},
		{resource: "limits.memory", container: "app", divisor: "1Gi", want: "1"},
		{resource: "limits.memory", container: "app", divisor: "1Mi", want: "100"},
		{resource: "requests.memory", container: "app", want: "0"},
		{resource: "limits.cpu", container: "free", want: "4"},
		{resource: "limits.memory", container: "free", divisor: "1Mi", want: "1024"},
		{resource: "limits.cpu", container: "nobody", bad: true},
		{resource: "limits.gpu", container: "app", bad: true},
		{resource: "cpu", container: "app", bad: true},
	} {
		item := corev1.DownwardAPIVolumeFile{Path: "f"}
		if tc.field != "" {
			item.FieldRef = &corev1.ObjectFieldSelector{FieldPath: tc.field}
		} else {
			item.ResourceFieldRef = &corev1.ResourceFieldSelector{ContainerName: tc.container, Resource: tc.resource}
			if tc.divisor != "" {
				item.ResourceFieldRef.Divisor = resource.MustParse(tc.divisor)
			}
		}
		got, err := downwardPayload(p, []corev1.DownwardAPIVolumeFile{item}, 0o600, node)
		if tc.bad {
			if !errors.Is(err, pod.ErrConfig) {
				t.Errorf("%+v: error %v", tc, err)
			}
			continue
		}
		if err != nil || string(got["f"].data) != tc.want || got["f"].mode != 0o600 {
			t.Errorf("%+v: %q, %v", tc, got["f"].data, err)
		}
	}
}

func TestObjectPayload(t *testing.T) {
	data := map[string][]byte{"a": []byte("1"), "b": []byte("2")}
	for _, tc := range []struct {
		name     string
		items    []corev1.KeyToPath
		optional bool
		want     map[string]string
		bad      string
	}{
		{name: "all", want: map[string]string{"a": "644 1", "b": "644 2"}},
		{name: "items", items: []corev1.KeyToPath{{Key: "a", Path: "x/y", Mode: ptr(int32(0o400))}}, want: map[string]string{"x/y": "400 1"}},
		{name: "missing key", items: []corev1.KeyToPath{{Key: "c", Path: "c"}}, bad: "references non-existent config key: c"},
		{name: "missing optional key", optional: true, items: []corev1.KeyToPath{{Key: "c", Path: "c"}, {Key: "a", Path: "a"}}, want: map[string]string{"a": "644 1"}},
		{name: "out", items: []corev1.KeyToPath{{Key: "a", Path: "../x"}}, bad: "invalid path"},
		{name: "out from within", items: []corev1.KeyToPath{{Key: "a", Path: "x/../../y"}}, bad: "invalid path"},
		{name: "absolute", items: []corev1.KeyToPath{{Key: "a", Path: "/x"}}, bad: "invalid path"},
		{name: "ours", items: []corev1.KeyToPath{{Key: "a", Path: "..data"}}, bad: "invalid path"},
		{name: "file as directory", items: []corev1.KeyToPath{{Key: "a", Path: "x"}, {Key: "b", Path: "x/y"}}, bad: "invalid path"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := objectPayload("config", data, tc.items, defaultMode, tc.optional)
			if tc.bad != "" {
				if !errors.Is(err, pod.ErrConfig) || !strings.Contains(err.Error(), tc.bad) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for k, f := range p {
				got[k] = octal(f.mode) + " " + string(f.data)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func octal(m int32) string {
	return string([]byte{'0' + byte(m>>6&7), '0' + byte(m>>3&7), '0' + byte(m&7)})
}

// TestPayloadPathsStayInside: a payload that passes its check has no path that
// leads out of a directory or touches our own names.
func TestPayloadPathsStayInside(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "..", ".", "", "..data", "b"}), 0, 5).Draw(t, "parts"), "/")
		if (payload{name: {}}).check() != nil {
			return
		}
		for i, part := range strings.Split(name, "/") {
			if part == "" || part == "." || part == ".." || i == 0 && strings.HasPrefix(part, "..") {
				t.Fatalf("%q passes", name)
			}
		}
	})
}

func TestComponent(t *testing.T) {
	for s, want := range map[string]bool{
		"0b5c2c1e-7c2e-4d7e-9d6f-0a1b2c3d4e5f": true, "a.b_c": true,
		"": false, ".": false, "..": false, ".x": false, "a/b": false, "a\x00": false, "ä": false, strings.Repeat("a", 300): false,
	} {
		if component(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

func TestMemoryDirSize(t *testing.T) {
	p := testPod()
	s := &corev1.EmptyDirVolumeSource{}
	if got := memoryDirSize(p, s); got != 0 {
		t.Errorf("one container has no limit: %d", got)
	}
	p.Spec.Containers = p.Spec.Containers[:1]
	if got := memoryDirSize(p, s); got != 100<<20 {
		t.Errorf("the pod's limit: %d", got)
	}
	s.SizeLimit = ptr(resource.MustParse("1Mi"))
	if got := memoryDirSize(p, s); got != 1<<20 {
		t.Errorf("the volume's limit: %d", got)
	}
	s.SizeLimit = ptr(resource.MustParse("1Gi"))
	if got := memoryDirSize(p, s); got != 100<<20 {
		t.Errorf("the lower limit: %d", got)
	}
}
