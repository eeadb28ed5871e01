package pod

import (
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/carob-project/carob/pkg/pod/podtest"
	"github.com/carob-project/carob/pkg/registry/kind/kindtest"
)

// FuzzAcceptedPodsRun: what validates can be run, however odd it is. Its cases
// are mixtures of the pods that the rules accept.
func FuzzAcceptedPodsRun(f *testing.F) {
	var fine []change
	for _, r := range readRules(f, "rules_create.yaml") {
		if len(r.Want) == 0 {
			fine = append(fine, r.change)
		}
	}
	for seed := range int64(200) {
		f.Add(seed, int(seed))
	}
	f.Fuzz(func(t *testing.T, seed int64, n int) {
		random := rand.New(rand.NewPCG(uint64(seed), uint64(n))) //nolint:gosec // any numbers will do
		pick := func() *change { return &fine[random.IntN(len(fine))] }
		c := change{M: pick().M, S: pick().S, C: pick().C}
		p := c.pod(t)
		p.UID, p.Namespace = "0000-1111", "default"
		ctx := genericrequest.WithNamespace(t.Context(), p.Namespace)
		rest.FillObjectMetaSystemFields(p)
		if err := rest.BeforeCreate(newStrategy(), ctx, p); err != nil {
			return // the mixture is not fine
		}
		p.Spec.NodeName = "n"
		sim := podtest.NewSim(p, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
		sim.AutoProbe = true
		sim.Program = func(string, int) podtest.Program {
			lasts := []time.Duration{0, time.Minute, podtest.Forever}
			return podtest.Program{Lasts: lasts[random.IntN(len(lasts))], Code: random.IntN(3)}
		}
		if !sim.Settle(time.Hour) {
			t.Errorf("no rest in an hour: %+v", p.Spec)
		}
		if len(sim.Pod.Status.ContainerStatuses) != len(p.Spec.Containers) {
			t.Errorf("statuses %+v", sim.Pod.Status)
		}
		sim.Delete(10)
		if !sim.Settle(24*time.Hour) || !sim.Done {
			t.Errorf("not gone after its deletion: %+v", p.Spec)
		}
		for _, b := range sim.Broken {
			t.Error(b)
		}
	})
}

// FuzzUpdates: no pair of pods, however unlike, makes the rules of updates
// panic, or changes what is stored.
func FuzzUpdates(f *testing.F) {
	for seed := range int64(50) {
		f.Add(seed, seed+1)
	}
	f.Fuzz(func(t *testing.T, a, b int64) {
		p, old := &corev1.Pod{}, &corev1.Pod{}
		kindtest.Random(p, a)
		kindtest.Random(old, b)
		old.Namespace = p.Namespace
		SetDefaults(p)
		SetDefaults(old)
		kindtest.Stored(p, old)
		for _, s := range []rest.RESTUpdateStrategy{newStrategy(), statusStrategy{newStrategy()}, ephemeralStrategy{newStrategy()}} {
			p := p.DeepCopy()
			before := old.DeepCopy()
			ctx := genericrequest.WithNamespace(t.Context(), p.Namespace)
			_ = rest.BeforeUpdate(s, ctx, p, old)
			_ = s.WarningsOnUpdate(ctx, p, old)
			same(t, before, old)
		}
	})
}

func same(t *testing.T, before, after runtime.Object) {
	t.Helper()
	if !apiequality.Semantic.DeepEqual(before, after) {
		t.Errorf("the stored pod changed from\n%+v\nto\n%+v", before, after)
	}
}
