package pod

import (
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/yaml"
)

// exercise runs everything the API does to a pod that a client sent, and
// checks what must hold for any.
func exercise(t *testing.T, p *corev1.Pod) {
	t.Helper()
	SetDefaults(p)
	once := p.DeepCopy()
	SetDefaults(p)
	if !apiequality.Semantic.DeepEqual(once, p) {
		t.Errorf("defaults are not idempotent for %+v", once)
	}
	s := newStrategy()
	s.PrepareForCreate(t.Context(), p)
	before := p.DeepCopy()
	errs := s.Validate(t.Context(), p)
	_ = errs.ToAggregate()
	_ = s.WarningsOnCreate(t.Context(), p)
	if !apiequality.Semantic.DeepEqual(before, p) {
		t.Error("validation changed the pod")
	}
	s.Canonicalize(p)
	changed := once.DeepCopy()
	s.PrepareForUpdate(t.Context(), changed, p)
	_ = ValidateUpdate(changed, p).ToAggregate()
	_ = ValidateStatusUpdate(once, p)
	if _, err := NewTableConvertor(testTime).ConvertToTable(t.Context(), once, nil); err != nil {
		t.Error(err)
	}
}

func FuzzPodFromYAML(f *testing.F) {
	for _, file := range []string{"good.yaml", "invalid.yaml", "refused.yaml", "table.yaml"} {
		data, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &corev1.Pod{}
		if yaml.Unmarshal(data, p) == nil {
			exercise(t, p)
		}
	})
}

func FuzzRandomPod(f *testing.F) {
	for seed := range int64(50) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed int64) {
		p := &corev1.Pod{}
		randfill.NewWithSeed(seed).NilChance(0.4).NumElements(0, 3).MaxDepth(12).Funcs(
			func(q *resource.Quantity, c randfill.Continue) {
				*q = *resource.NewMilliQuantity(c.Int63()-c.Int63(), resource.DecimalSI)
			},
		).Fill(p)
		exercise(t, p)
	})
}
