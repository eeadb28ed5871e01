package nodestatus

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/eviction"
)

func healthyFacts() Facts {
	return Facts{
		CPUs: 2, MemoryTotal: 4 << 30, MemoryAvailable: 3 << 30,
		DiskTotal: 100 << 30, DiskAvailable: 50 << 30, InodesTotal: 1000, InodesFree: 900,
		PIDMax: 32768, PIDs: 200, Hostname: "host", Kernel: "6.1", BootID: "b",
	}
}

func conditionOf(s corev1.NodeStatus, t corev1.NodeConditionType) corev1.NodeCondition {
	for _, c := range s.Conditions {
		if c.Type == t {
			return c
		}
	}
	return corev1.NodeCondition{}
}

func TestStatusConditions(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Reading)
		typ    corev1.NodeConditionType
		status corev1.ConditionStatus
		reason string
	}{
		{"ready", func(*Reading) {}, corev1.NodeReady, corev1.ConditionTrue, ReasonReady},
		{"runtime away", func(r *Reading) {
			r.Problems = []Problem{{ReasonRuntimeNotReady, "no answer"}, {ReasonNetworkNotReady, "no config"}}
		}, corev1.NodeReady, corev1.ConditionFalse, ReasonRuntimeNotReady},
		{"enough memory", func(*Reading) {}, corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory"},
		{"memory", func(r *Reading) { r.Pressure = []corev1.NodeConditionType{corev1.NodeMemoryPressure} },
			corev1.NodeMemoryPressure, corev1.ConditionTrue, "KubeletHasInsufficientMemory"},
		{"disk", func(r *Reading) { r.Pressure = []corev1.NodeConditionType{corev1.NodeDiskPressure} },
			corev1.NodeDiskPressure, corev1.ConditionTrue, "KubeletHasDiskPressure"},
		{"enough disk", func(r *Reading) { r.Pressure = []corev1.NodeConditionType{corev1.NodePIDPressure} },
			corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure"},
		{"pids", func(r *Reading) { r.Pressure = []corev1.NodeConditionType{corev1.NodePIDPressure} },
			corev1.NodePIDPressure, corev1.ConditionTrue, "KubeletHasInsufficientPID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Reading{Facts: healthyFacts()}
			tt.change(&r)
			c := conditionOf(Identity{Name: "n"}.Status(corev1.NodeStatus{}, r, metav1.Now()), tt.typ)
			if c.Status != tt.status || c.Reason != tt.reason {
				t.Errorf("%s is %s (%s), want %s (%s)", tt.typ, c.Status, c.Reason, tt.status, tt.reason)
			}
		})
	}
}

func TestStatusTransitions(t *testing.T) {
	thresholds, err := eviction.Parse(eviction.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	id := Identity{Thresholds: thresholds, Name: "n", IPs: []string{"10.0.0.1"}, MaxPods: 500, AgentVersion: "v0.1.0"}
	t0 := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	foreign := corev1.NodeCondition{Type: "Foreign", Status: corev1.ConditionTrue}
	r := Reading{Facts: healthyFacts(), RuntimeVersion: "containerd://1.6.20"}
	first := id.Status(corev1.NodeStatus{Conditions: []corev1.NodeCondition{foreign}}, r, t0)
	t1 := metav1.NewTime(t0.Add(time.Minute))
	r.RuntimeVersion = "" // the runtime does not answer
	second := id.Status(first, r, t1)
	if !sameStatus(first, second) {
		t.Errorf("nothing changed, and yet: %+v, %+v", first, second)
	}
	c := conditionOf(second, corev1.NodeReady)
	if !c.LastHeartbeatTime.Equal(&t1) || !c.LastTransitionTime.Equal(&t0) {
		t.Errorf("heartbeat %v, transition %v", c.LastHeartbeatTime, c.LastTransitionTime)
	}
	if conditionOf(second, "Foreign").Status != corev1.ConditionTrue {
		t.Error("another writer's condition was lost")
	}
	if q := second.Capacity[corev1.ResourcePods]; q.Value() != 500 {
		t.Errorf("pods: %v", q)
	}
	if second.Allocatable.Memory().Cmp(*second.Capacity.Memory()) >= 0 {
		t.Error("allocatable memory keeps nothing free")
	}
	if len(second.Addresses) != 2 || second.Addresses[0].Address != "10.0.0.1" {
		t.Errorf("addresses %+v", second.Addresses)
	}
}

// Huge pages are taken from the memory that there is for others. Where no pod can
// be held to its own there are none to give.
func TestHugePages(t *testing.T) {
	id := Identity{Name: "n", MaxPods: 5}
	f := healthyFacts()
	plain := id.Status(corev1.NodeStatus{}, Reading{Facts: f}, metav1.Now())
	f.HugePages = map[int64]int64{2 << 20: 8 << 20, 1 << 30: 0}
	for _, id.UnlimitedHugePages = range []bool{false, true} {
		s := id.Status(corev1.NodeStatus{}, Reading{Facts: f}, metav1.Now())
		capacity, given, giga := s.Capacity["hugepages-2Mi"], s.Allocatable["hugepages-2Mi"], s.Capacity["hugepages-1Gi"]
		want := int64(8 << 20)
		if id.UnlimitedHugePages {
			want = 0
		}
		if capacity.Value() != 8<<20 || given.Value() != want || !giga.IsZero() {
			t.Errorf("capacity %v, allocatable %v", s.Capacity, s.Allocatable)
		}
		if less := plain.Allocatable.Memory().Value() - s.Allocatable.Memory().Value(); less != 8<<20 || s.Capacity.Memory().Cmp(*plain.Capacity.Memory()) != 0 {
			t.Errorf("%d bytes less", less)
		}
	}
}

func TestMachine(t *testing.T) {
	root := t.TempDir()
	for path, content := range map[string]string{
		"etc/machine-id":                  "mid\n",
		"etc/os-release":                  "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
		"proc/meminfo":                    "MemTotal:       2048 kB\nMemFree: 1000 kB\nMemAvailable:   1 kB\nInactive(file):   24 kB\n",
		"proc/loadavg":                    "0.00 0.01 0.05 1/234 5678\n",
		"proc/sys/kernel/pid_max":         "4194304\n",
		"proc/sys/kernel/threads-max":     "1000\n",
		"proc/sys/kernel/osrelease":       "6.1.0\n",
		"proc/sys/kernel/hostname":        "box\n",
		"proc/self/uid_map":               "         0       1000          1\n",
		"proc/sys/kernel/random/boot_id":  "bid\n",
		"sys/class/dmi/id/irrelevant.txt": "",
		"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "3\n",
		"sys/kernel/mm/hugepages/other":                         "",
	} {
		p := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Machine{Root: root, DataDir: root}.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(f.HugePages) != 1 || f.HugePages[2<<20] != 6<<20 {
		t.Errorf("huge pages %v", f.HugePages)
	}
	if f.MemoryTotal != 2<<20 || f.MemoryAvailable != 1<<20 || f.PIDs != 234 || f.PIDMax != 1000 {
		t.Errorf("%+v", f)
	}
	if f.SystemUUID != "mid" || f.OSImage != "Debian GNU/Linux 12 (bookworm)" || f.BootID != "bid" || f.Hostname != "box" {
		t.Errorf("%+v", f)
	}
	if f.DiskTotal <= 0 || f.CPUs <= 0 || !f.InUserNamespace {
		t.Errorf("%+v", f)
	}
	if f, err := (Machine{DataDir: root}).Facts(t.Context()); err != nil || f.InUserNamespace {
		t.Errorf("the real machine: %+v, %v", f, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("MemTotal: 1 kB\nMemFree: 1 kB\nInactive(file): 1 kB\n")
	f.Add("0.0 0.0 0.0 1/2 3")
	f.Add("PRETTY_NAME=\"x")
	f.Fuzz(func(t *testing.T, s string) {
		total, available, err := parseMeminfo(s)
		if err == nil && (total < 0 || available < 0) {
			t.Errorf("%q: %d, %d", s, total, available)
		}
		_, _ = parseLoadavg(s)
		_ = parseOSRelease(s)
	})
}
