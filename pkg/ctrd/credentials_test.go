package ctrd

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/carob-project/carob/pkg/pod"
)

func TestMatchingCredentials(t *testing.T) {
	for name, tc := range map[string]struct {
		image string
		have  []string
		want  []string
	}{
		"host":              {"r.example/a/b", []string{"other.example", "r.example"}, []string{"r.example"}},
		"longer path first": {"r.example/a/b", []string{"r.example", "r.example/a", "r.example/a/b", "r.example/c"}, []string{"r.example/a/b", "r.example/a", "r.example"}},
		"patterns last":     {"r.example/a", []string{"*.example", "r.example"}, []string{"r.example", "*.example"}},
		"parts of a host":   {"a.b.example/x", []string{"*.example", "*.b.example", "a.*.example"}, []string{"*.b.example", "a.*.example"}},
		"port":              {"r.example:5000/a", []string{"r.example", "r.example:5000", "r.example:5001"}, []string{"r.example:5000"}},
		"schemes and paths": {"r.example/a", []string{"https://r.example/v2/", "http://r.example/v1"}, []string{"https://r.example/v2/", "http://r.example/v1"}},
		"Docker's registry": {"busybox", []string{"https://index.docker.io/v1/", "docker.io", "r.example"}, []string{"https://index.docker.io/v1/", "docker.io"}},
		"order of alike":    {"r.example/a", []string{"r.example", "r.example"}, []string{"r.example", "r.example"}},
		"none":              {"r.example/a", nil, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			named, err := normalize(tc.image)
			if err != nil {
				t.Fatal(err)
			}
			var all []pod.Credential
			for _, r := range tc.have {
				all = append(all, pod.Credential{Registry: r})
			}
			got := []string{}
			for _, c := range matching(all, named) {
				got = append(got, c.Registry)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestFingerprintsShowNothing(t *testing.T) {
	a := fingerprint([]pod.Credential{{Password: "secret"}})
	if b := fingerprint([]pod.Credential{{Password: "other"}}); a == b || len(a) != 65 || fingerprint(nil) != "" {
		t.Errorf("%q %q %q", a, b, fingerprint(nil))
	}
}
