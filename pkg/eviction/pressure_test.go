package eviction_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/eviction"
)

var t0 = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

const period = 5 * time.Minute

func parse(t *testing.T, s eviction.Settings) []eviction.Threshold {
	t.Helper()
	l, err := eviction.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestParse(t *testing.T) {
	if l := parse(t, eviction.Settings{}); len(l) != 6 {
		t.Errorf("the defaults are %+v", l)
	}
	if l := parse(t, eviction.Settings{Hard: map[string]string{"memory.available": "0%", "nodefs.available": "100%"}}); len(l) != 0 {
		t.Errorf("switched off: %+v", l)
	}
	l := parse(t, eviction.Settings{
		Hard: map[string]string{"nodefs.available": "5%"}, Soft: map[string]string{"memory.available": "1Gi"},
		SoftGrace: map[string]string{"memory.available": "90s"}, MinReclaim: map[string]string{"memory.available": "100Mi"},
	})
	if len(l) != 2 || !l[1].Soft || l[1].Grace != 90*time.Second || l[1].MinReclaim == nil || l[0].MinReclaim != nil {
		t.Errorf("%+v", l)
	}
	for _, bad := range []eviction.Settings{
		{Hard: map[string]string{"disk": "1"}}, {Hard: map[string]string{"pid.available": "-1"}},
		{Hard: map[string]string{"pid.available": "101%"}}, {Hard: map[string]string{"pid.available": "NaN%"}},
		{Hard: map[string]string{"pid.available": "x"}}, {Hard: map[string]string{"allocatableMemory.available": "1Gi"}},
		{Soft: map[string]string{"pid.available": "1"}},
		{Soft: map[string]string{"pid.available": "1"}, SoftGrace: map[string]string{"pid.available": "x"}},
	} {
		if _, err := eviction.Parse(bad); !errors.Is(err, eviction.ErrSetting) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestAllocatable(t *testing.T) {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("1000Gi"),
	}
	reserved := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	got := eviction.Allocatable(capacity, reserved, eviction.Reserved(parse(t, eviction.Settings{}), capacity))
	for name, want := range map[corev1.ResourceName]string{"cpu": "1500m", "memory": "2972Mi", "ephemeral-storage": "966367640000"} {
		q := got[name]
		w := resource.MustParse(want)
		if d := q.Value() - w.Value(); name == "ephemeral-storage" && (d > 1<<20 || d < -1<<20) || name != "ephemeral-storage" && q.Cmp(w) != 0 {
			t.Errorf("%s: %s, want %s", name, q.String(), want)
		}
	}
	huge := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Ti")}
	if q := eviction.Allocatable(capacity, huge)[corev1.ResourceMemory]; !q.IsZero() {
		t.Errorf("more is reserved than there is: %s", q.String())
	}
}

func memory(available int64) eviction.Observations {
	return eviction.Observations{eviction.MemoryAvailable: {Capacity: 1 << 30, Available: available}}
}

func TestLook(t *testing.T) {
	soft := parse(t, eviction.Settings{
		Hard: map[string]string{"memory.available": "100Mi"}, Soft: map[string]string{"memory.available": "200Mi"},
		SoftGrace:  map[string]string{"memory.available": "30s"},
		MinReclaim: map[string]string{"memory.available": "50Mi"},
	})
	var s eviction.State
	for i, step := range []struct {
		at        time.Duration
		available int64
		pressure  bool
		starved   string
	}{
		{0, 300 * mi, false, ""},
		{10 * time.Second, 150 * mi, true, ""},
		{30 * time.Second, 150 * mi, true, ""},
		{40 * time.Second, 150 * mi, true, "soft"},
		{50 * time.Second, 220 * mi, true, "soft"}, // the minimum reclaim is not reached
		{60 * time.Second, 260 * mi, true, ""},
		{70 * time.Second, 90 * mi, true, "hard"},
		{80 * time.Second, 120 * mi, true, "hard"}, // nor here; the soft one waits anew
		{90 * time.Second, 300 * mi, true, ""},
		{80*time.Second + period - 1, 300 * mi, true, ""},
		{80*time.Second + period, 300 * mi, false, ""},
	} {
		var r eviction.Round
		s, r = eviction.Look(s, soft, memory(step.available), period, t0.Add(step.at))
		starved := ""
		if len(r.Starved) > 0 {
			if starved = "hard"; r.Starved[0].Soft {
				starved = "soft"
			}
		}
		if (len(r.Conditions) > 0) != step.pressure || starved != step.starved {
			t.Errorf("step %d: %v, starved %q, want %v, %q", i, r.Conditions, starved, step.pressure, step.starved)
		}
	}
}

func asks(name string, priority int32, request string) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.UID, p.Spec.Priority = name, types.UID(name), &priority
	p.Spec.Containers = []corev1.Container{{Name: "app"}}
	if request != "" {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
			corev1.ResourceMemory: resource.MustParse(request), corev1.ResourceEphemeralStorage: resource.MustParse(request),
		}
	}
	return p
}

func uses(p *corev1.Pod, n int64) eviction.Candidate {
	return eviction.Candidate{Pod: p, Known: true, Use: eviction.PodUse{
		Memory: n, Processes: n, Containers: []eviction.ContainerUse{
			{Name: "app", Memory: n, Rootfs: eviction.Disk{Bytes: n, Inodes: n}, DiskKnown: true},
		},
	}}
}

func order(l []eviction.Candidate) string {
	var names []string
	for _, c := range l {
		names = append(names, c.Pod.Name)
	}
	return strings.Join(names, " ")
}

func TestRank(t *testing.T) {
	pods := []eviction.Candidate{
		uses(asks("within", 0, "500Mi"), 400*mi), uses(asks("over", 0, "100Mi"), 200*mi), uses(asks("more", 0, "100Mi"), 300*mi),
		uses(asks("important", 5, ""), 900*mi), {Pod: asks("unknown", 9, "")}, uses(asks("low", -1, "500Mi"), mi),
	}
	for signal, want := range map[eviction.Signal]string{
		eviction.MemoryAvailable:  "unknown more over important low within",
		eviction.NodeFSAvailable:  "unknown more over important low within",
		eviction.PIDAvailable:     "unknown low within more over important",
		eviction.NodeFSInodesFree: "unknown low more over within important",
	} {
		if got := order(eviction.Rank(signal, eviction.Disks{}, pods)); got != want {
			t.Errorf("%s: %s, want %s", signal, got, want)
		}
	}
}

func TestChoose(t *testing.T) {
	starved := parse(t, eviction.Settings{Hard: map[string]string{"memory.available": "100Mi"}})
	obs := eviction.Observations{eviction.MemoryAvailable: {Capacity: 1 << 30, Available: 50 * mi}}
	v := eviction.Choose(starved, obs, eviction.Disks{}, []eviction.Candidate{uses(asks("a", 2_000_000_000, ""), 900*mi), uses(asks("b", 0, "10Mi"), 20*mi)})
	want := "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. " +
		"Container app was using 20Mi, request is 10Mi, has larger consumption of memory. "
	if v == nil || v.Pod.Name != "b" || v.Message != want || v.Soft {
		t.Errorf("%+v", v)
	}
	shared := asks("c", 0, "")
	shared.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("30Mi")}}
	v = eviction.Choose(starved, obs, eviction.Disks{}, []eviction.Candidate{uses(shared, 20*mi)})
	want = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. " +
		"Pod c was using 20Mi, request is 30Mi, has larger consumption of memory. " +
		"Container app was using 20Mi, request is 0, has larger consumption of memory. "
	if v == nil || v.Message != want {
		t.Errorf("%+v", v)
	}
	disk := parse(t, eviction.Settings{Hard: map[string]string{"nodefs.available": "10%"}})
	v = eviction.Choose(disk, eviction.Observations{eviction.NodeFSAvailable: {Capacity: 1000 * mi, Available: mi}}, eviction.Disks{},
		[]eviction.Candidate{uses(asks("d", 0, ""), 20*mi), {Pod: asks("e", 1, "")}})
	if want := "The node was low on resource: ephemeral-storage. Threshold quantity: 104857601, available: 1Mi. "; v == nil || v.Message != want {
		t.Errorf("%+v", v)
	}
	if v := eviction.Choose(starved, obs, eviction.Disks{}, nil); v != nil {
		t.Errorf("of no pods: %+v", v)
	}
}

func TestRefusal(t *testing.T) {
	memory, both := []corev1.NodeConditionType{corev1.NodeMemoryPressure}, []corev1.NodeConditionType{corev1.NodeDiskPressure, corev1.NodeMemoryPressure}
	tolerant := asks("t", 0, "")
	tolerant.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists}}
	for i, tc := range []struct {
		pod        *corev1.Pod
		class      corev1.PodQOSClass
		conditions []corev1.NodeConditionType
		want       string
	}{
		{asks("a", 0, ""), corev1.PodQOSBestEffort, nil, ""},
		{asks("a", 0, ""), corev1.PodQOSBestEffort, memory, "The node had condition: [MemoryPressure]. "},
		{asks("a", 0, ""), corev1.PodQOSBurstable, memory, ""},
		{tolerant, corev1.PodQOSBestEffort, memory, ""},
		{tolerant, corev1.PodQOSGuaranteed, both, "The node had condition: [DiskPressure MemoryPressure]. "},
		{asks("a", 2_000_000_000, ""), corev1.PodQOSBestEffort, both, ""},
	} {
		if got := eviction.Refusal(tc.pod, tc.class, tc.conditions); got != tc.want {
			t.Errorf("%d: %q, want %q", i, got, tc.want)
		}
	}
}

// The order is the same however the pods come, and no two are equal in it.
func TestRankIsTotal(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		var pods []eviction.Candidate
		for i := range 2 + rnd.IntN(6) {
			c := uses(asks(fmt.Sprint("p", i), int32(rnd.IntN(3)), []string{"", "2Mi"}[rnd.IntN(2)]), int64(rnd.IntN(4))*mi)
			c.Known = rnd.IntN(4) > 0
			pods = append(pods, c)
		}
		for _, signal := range []eviction.Signal{eviction.MemoryAvailable, eviction.NodeFSAvailable, eviction.ImageFSInodesFree, eviction.PIDAvailable} {
			want := order(eviction.Rank(signal, eviction.Disks{}, pods))
			rnd.Shuffle(len(pods), func(i, j int) { pods[i], pods[j] = pods[j], pods[i] })
			if got := order(eviction.Rank(signal, eviction.Disks{}, pods)); got != want {
				t.Fatalf("%s: %s, then %s", signal, want, got)
			}
		}
	}
}

// Nobody ends without a crossed threshold, a critical pod never, and a condition
// that was seen holds for the whole period.
func TestPressureProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	thresholds := parse(t, eviction.Settings{
		Hard: map[string]string{"memory.available": "100Mi", "nodefs.available": "10%"},
		Soft: map[string]string{"memory.available": "150Mi", "pid.available": "5%"},
		SoftGrace: map[string]string{
			"memory.available": "40s", "pid.available": "1m",
		},
		MinReclaim: map[string]string{"memory.available": "20Mi"},
	})
	for range 300 {
		var s eviction.State
		now, seen := t0, map[corev1.NodeConditionType]time.Time{}
		for range 60 {
			now = now.Add(time.Duration(1+rnd.IntN(60)) * time.Second)
			obs := eviction.Observations{
				eviction.MemoryAvailable: {Capacity: 1 << 30, Available: rnd.Int64N(400) * mi},
				eviction.NodeFSAvailable: {Capacity: 1 << 30, Available: rnd.Int64N(400) * mi},
			}
			if rnd.IntN(2) == 0 {
				obs[eviction.PIDAvailable] = eviction.Observation{Capacity: 1000, Available: rnd.Int64N(200)}
			}
			var r eviction.Round
			s, r = eviction.Look(s, thresholds, obs, period, now)
			low := obs[eviction.MemoryAvailable].Available < 170*mi || obs[eviction.NodeFSAvailable].Available < 1<<30/10+1
			if p, ok := obs[eviction.PIDAvailable]; ok && p.Available < 50 {
				low = true
			}
			if len(r.Starved) > 0 && !low {
				t.Fatalf("nothing is short in %v, and %+v", obs, r.Starved)
			}
			for _, st := range r.Starved {
				seen[st.Signal.Condition()] = now
			}
			for c, at := range seen {
				if now.Sub(at) < period && !slices.Contains(r.Conditions, c) {
					t.Fatalf("%s flaps: seen at %v, gone at %v", c, at, now)
				}
			}
			v := eviction.Choose(r.Starved, obs, eviction.Disks{}, []eviction.Candidate{
				uses(asks("a", 2_100_000_000, ""), mi), uses(asks("b", int32(rnd.IntN(3)), ""), mi),
			})
			if (v != nil) != (len(r.Starved) > 0) || v != nil && eviction.Critical(v.Pod) {
				t.Fatalf("starved %v, victim %+v", r.Starved, v)
			}
		}
	}
}
