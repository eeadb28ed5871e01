package resourcequota

import (
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/carob-project/carob/pkg/quota"
)

var bounds = []corev1.ResourceName{"pods", "cpu", "secrets", "count/deployments.apps", "nobody.example.com/knows"}

func some(r *rand.Rand) corev1.ResourceList {
	list := corev1.ResourceList{}
	for _, name := range bounds {
		if r.IntN(4) > 0 {
			list[name] = *resource.NewQuantity(r.Int64N(5), resource.DecimalSI)
		}
	}
	return list
}

// Whatever a quota says and whatever is found: the status is about exactly what
// is bounded, nothing is taken off in haste, and in the end the status says what
// was found and stays so.
func TestDecide(t *testing.T) {
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 1))
		q := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: some(r)}, Status: corev1.ResourceQuotaStatus{Hard: some(r), Used: some(r)}}
		found := some(r)
		early := Decide(q, found, time.Duration(r.Int64N(int64(calm))), time.Duration(r.Int64N(int64(hurry))))
		late := Decide(q, found, calm, 0)
		for name := range q.Spec.Hard {
			said, has := q.Status.Used[name]
			is, known := found[name]
			soon, given := early.Status.Used[name]
			if given != (has || known) {
				t.Errorf("seed %d: %s has a number: %v", seed, name, given)
			}
			if has && soon.Cmp(said) < 0 {
				t.Errorf("seed %d: %s falls at once", seed, name)
			}
			if known && has && is.Cmp(said) < 0 && (early.After <= 0 || early.After > calm) {
				t.Errorf("seed %d: %s is not looked at again: %v", seed, name, early.After)
			}
			if last := late.Status.Used[name]; known && last.Cmp(is) != 0 {
				t.Errorf("seed %d: %s is %v at last, not %v", seed, name, last, is)
			}
		}
		for _, d := range []Decision{early, late} {
			if !quota.Equal(d.Status.Hard, q.Spec.Hard) {
				t.Errorf("seed %d: bounds %v", seed, d.Status.Hard)
			}
			for name := range d.Status.Used {
				if _, bounded := q.Spec.Hard[name]; !bounded {
					t.Errorf("seed %d: %s is not bounded", seed, name)
				}
			}
		}
		settled := q.DeepCopy()
		settled.Status = late.Status
		if again := Decide(settled, found, calm, 0); again.Changes(settled) || again.After != 0 || late.After != 0 {
			t.Errorf("seed %d: a settled quota changes: %+v", seed, again)
		}
		if impatient := Decide(q, found, 0, hurry); !quota.Equal(impatient.Status.Used, late.Status.Used) {
			t.Errorf("seed %d: waits for ever", seed)
		}
	}
}

func TestChanges(t *testing.T) {
	q := &corev1.ResourceQuota{}
	if d := Decide(q, nil, calm, 0); !d.Changes(q) {
		t.Error("a new quota has a status already")
	}
	q.Status = corev1.ResourceQuotaStatus{Hard: corev1.ResourceList{}, Used: corev1.ResourceList{}}
	if d := Decide(q, nil, calm, 0); d.Changes(q) {
		t.Errorf("%+v", d)
	}
}

func TestKinds(t *testing.T) {
	hard := corev1.ResourceList{}
	for _, name := range []corev1.ResourceName{"limits.cpu", "count/deployments.apps", "count/secrets", "secrets", "requests.storage", "count/events", "example.com/x"} {
		hard[name] = resource.MustParse("1")
	}
	var got []string
	for _, k := range Kinds(hard) {
		got = append(got, k.Resource.String())
	}
	if len(got) != 4 || got[0] != "pods" || got[1] != "persistentvolumeclaims" || got[2] != "secrets" || got[3] != "deployments.apps" {
		t.Errorf("%q", got)
	}
}
