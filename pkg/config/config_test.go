package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/carob-project/carob/pkg/pod"
)

func load(t *testing.T, args ...string) (Config, error) {
	t.Helper()
	fs := pflag.NewFlagSet("up", pflag.ContinueOnError)
	f := AddInstanceFlags(fs)
	f.AddUpFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f.Load(fs.Changed)
}

func write(t *testing.T, content string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFlagsWinOverFileWinsOverDefaults(t *testing.T) {
	file := write(t, "listen: 127.0.0.1:7000\nnode-name: from-file\nlog-level: debug\n")
	c, err := load(t, "--config", file, "--node-name", "from-flag")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Listen, want.NodeName, want.LogLevel = "127.0.0.1:7000", "from-flag", "debug"
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
}

func TestAFlagGivenItsDefaultStillWins(t *testing.T) {
	c, err := load(t, "--config", write(t, "data-dir: /from/file\n"), "--data-dir", Default().DataDir)
	if err != nil {
		t.Fatal(err)
	}
	if c.DataDir != Default().DataDir {
		t.Errorf("data-dir is %s", c.DataDir)
	}
}

func TestEveryFlagHasAKey(t *testing.T) {
	fs := pflag.NewFlagSet("up", pflag.ContinueOnError)
	AddInstanceFlags(fs).AddUpFlags(fs)
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Name == "config" {
			return
		}
		value := map[string]string{"string": "x", "int64": "1", "bool": "true"}[f.Value.Type()]
		var c Config
		if err := yaml.UnmarshalStrict([]byte(f.Name+": "+value), &c); err != nil {
			t.Errorf("flag --%s: %v", f.Name, err)
		}
	})
}

func TestLoadRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		file string
		args []string
		want []string
	}{
		"unknown key":        {file: "datadir: /x\n", want: []string{"datadir", "config.yaml"}},
		"not yaml":           {file: "listen: [\n", want: []string{"config.yaml"}},
		"wrong type":         {file: "listen: [1]\n", want: []string{"listen"}},
		"all at once":        {args: []string{"--listen", "nowhere", "--log-level", "loud", "--pod-cidr", "10.0.0.0/30"}, want: []string{"listen", "log-level", "pod-cidr"}},
		"host name":          {args: []string{"--listen", "example.com:1"}, want: []string{"IP address"}},
		"same directories":   {args: []string{"--data-dir", "/x", "--run-dir", "/x/"}, want: []string{"run-dir"}},
		"node name":          {args: []string{"--node-name", "Not A Name"}, want: []string{"node-name"}},
		"IPv6 pods":          {args: []string{"--pod-cidr", "fd00::/64"}, want: []string{"pod-cidr"}},
		"format":             {args: []string{"--log-format", "xml"}, want: []string{"log-format"}},
		"empty namespace":    {args: []string{"--containerd-namespace", ""}, want: []string{"containerd-namespace"}},
		"missing data dir":   {args: []string{"--data-dir", ""}, want: []string{"data-dir"}},
		"missing run dir":    {args: []string{"--run-dir", ""}, want: []string{"run-dir"}},
		"missing the file":   {args: []string{"--config", "/nowhere/config.yaml"}, want: []string{"/nowhere/config.yaml"}},
		"wrong address":      {args: []string{"--listen", "127.0.0.1"}, want: []string{"listen"}},
		"plugins, not where": {args: []string{"--image-credential-provider-config", "/x"}, want: []string{"image-credential-provider-bin-dir"}},
		"plugins, not which": {args: []string{"--image-credential-provider-bin-dir", "/x"}, want: []string{"image-credential-provider-config"}},
		"pod range too big":  {args: []string{"--pod-cidr", "0.0.0.0/0"}, want: []string{"pod-cidr"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := tc.args
			if tc.file != "" {
				args = append(args, "--config", write(t, tc.file))
			}
			_, err := load(t, args...)
			if err == nil {
				t.Fatal("it was accepted")
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not name %q", err, w)
				}
			}
		})
	}
}

func TestSavedSettingsComeBack(t *testing.T) {
	c := Default()
	c.DataDir, c.Listen = t.TempDir(), "127.0.0.1:7001"
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	later := Default()
	later.DataDir = c.DataDir
	got, err := later.Saved()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(c, got); d != "" {
		t.Error(d)
	}
}

func TestInstanceIDFollowsFromTheDataDirectory(t *testing.T) {
	a, b := Config{DataDir: "/var/lib/carob"}, Config{DataDir: "/var/lib/carob/"}
	if a.InstanceID() != b.InstanceID() || len(a.InstanceID()) != 8 {
		t.Errorf("%s and %s", a.InstanceID(), b.InstanceID())
	}
	if c := (Config{DataDir: "/other"}); c.InstanceID() == a.InstanceID() {
		t.Error("two directories have one ID")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("listen: 127.0.0.1:1\n")
	f.Add("a: [b\n")
	f.Fuzz(func(t *testing.T, s string) {
		c := Default()
		if decode(&c, "f", []byte(s)) != nil {
			return
		}
		if c.Validate() == nil {
			if _, err := c.absolute(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestNodeSettings(t *testing.T) {
	file := write(t, "eviction-hard: {memory.available: 1Gi}\nsystem-reserved: {cpu: 100m}\ncarob-reserved: {cpu: 200m, memory: 1Gi}\n")
	c, err := load(t, "--config", file, "--data-dir", t.TempDir(), "--system-reserved", "cpu=300m", "--eviction-soft", "pid.available=10%",
		"--eviction-soft-grace-period", "pid.available=30s", "--image-gc-maximum-age", "24h")
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Thresholds()
	if err != nil || len(l) != 3 || !l[1].Soft || l[1].Grace != 30*time.Second {
		t.Errorf("thresholds %+v, %v", l, err)
	}
	r := c.Reserved()
	if r.Cpu().MilliValue() != 500 || r.Memory().Value() != 1<<30 {
		t.Errorf("reserved %v", r)
	}
	if p := c.ImagePolicy(); p.HighPercent != 85 || p.LowPercent != 80 || p.MinAge != 2*time.Minute || p.MaxAge != 24*time.Hour {
		t.Errorf("images %+v", p)
	}
	// What another start was told does not leak into this one.
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	again, err := load(t, "--data-dir", c.DataDir, "--system-reserved", "cpu=1")
	if err != nil {
		t.Fatal(err)
	}
	saved, err := again.Saved()
	if err != nil || saved.SystemReserved["cpu"] != "300m" || saved.EvictionHard["memory.available"] != "1Gi" {
		t.Errorf("saved %+v, %v", saved.Node, err)
	}
	if again.SystemReserved["cpu"] != "1" || again.EvictionHard != nil {
		t.Errorf("the new start has %+v", again.Node)
	}
	for _, bad := range [][]string{
		{"--system-reserved", "disk=1"}, {"--system-reserved", "cpu=x"}, {"--carob-reserved", "cpu=-1"}, {"--eviction-hard", "x=1"},
		{"--eviction-soft", "pid.available=1"}, {"--eviction-pressure-transition-period", "x"}, {"--eviction-max-pod-grace-period", "-1"},
		{"--image-gc-high-threshold", "101"}, {"--image-gc-low-threshold", "90"}, {"--image-gc-minimum-age", "-1s"},
	} {
		if _, err := load(t, bad...); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}

func TestMemory(t *testing.T) {
	c, err := load(t)
	if err != nil || c.MemoryQoS() != (pod.MemoryQoS{}) {
		t.Errorf("by default %+v, %v", c.Memory, err)
	}
	c, err = load(t, "--memory-throttling-factor", "0.9", "--memory-reservation-policy", "TieredReservation")
	if err != nil || c.MemoryQoS() != (pod.MemoryQoS{ThrottlingFactor: 0.9, Reserve: true}) {
		t.Errorf("%+v, %v", c.Memory, err)
	}
	for _, bad := range [][]string{
		{"--memory-throttling-factor", "1.1"}, {"--memory-throttling-factor", "-0.1"}, {"--memory-throttling-factor", "NaN"},
		{"--memory-reservation-policy", "Tiered"}, {"--memory-reservation-policy", ""},
	} {
		if _, err := load(t, bad...); err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(bad[0], "--")) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestTracing(t *testing.T) {
	c, err := load(t)
	if err != nil || c.TracingEndpoint != "" || c.TracingSamplingRatio != 1 {
		t.Errorf("by default %+v, %v", c.Tracing, err)
	}
	c, err = load(t, "--tracing-endpoint", "http://127.0.0.1:4317", "--tracing-sampling-ratio", "0.25")
	if err != nil || c.TracingEndpoint != "http://127.0.0.1:4317" || c.TracingSamplingRatio != 0.25 {
		t.Errorf("%+v, %v", c.Tracing, err)
	}
	for _, bad := range [][]string{
		{"--tracing-endpoint", "127.0.0.1:4317"}, {"--tracing-endpoint", "http://host/v1/traces"},
		{"--tracing-sampling-ratio", "1.5"}, {"--tracing-sampling-ratio", "-1"}, {"--tracing-sampling-ratio", "NaN"}, {"--tracing-sampling-ratio", "Inf"},
	} {
		if _, err := load(t, bad...); err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(bad[0], "--")) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
