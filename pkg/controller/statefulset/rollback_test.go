package statefulset

import (
	"maps"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/rollback/rollbacktest"
)

// play is a set in a history by chance.
type play struct {
	*rollbacktest.Play
	set  *appsv1.StatefulSet
	pods map[string]*corev1.Pod
}

func newPlay(seed uint64) *play {
	h := &play{Play: rollbacktest.New(seed), pods: map[string]*corev1.Pod{}}
	h.set = &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s", UID: "u", Generation: 1}}
	h.set.Annotations = rollbacktest.Annotations()
	h.set.Spec.Replicas = ptr.To(1 + h.Int32N(4))
	h.set.Spec.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
	h.set.Spec.PodManagementPolicy = appsv1.OrderedReadyPodManagement
	if h.IntN(2) == 0 {
		h.set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	}
	return h
}

// decide carries out one round of the controller.
func (h *play) decide(t *testing.T) {
	t.Helper()
	pods := slices.Collect(maps.Values(h.pods))
	all, latest := h.Revisions()
	p := Decide(h.set, pods, Revision{Name: currentOf(h.set, all, latest).Name}, Revision{Name: h.Latest}, nil, h.Now)
	back := follow(h.set, pods, all, latest, &p, h.Now)
	for _, pod := range p.Create {
		pod.Status.Phase = corev1.PodPending
		h.pods[pod.Name] = pod
	}
	for _, pod := range p.Delete {
		gone := h.pods[pod.Name].DeepCopy()
		gone.DeletionTimestamp = &metav1.Time{Time: h.Now}
		h.pods[pod.Name] = gone
	}
	h.set.Status = p.Status
	h.set.Annotations = h.Follow(t, h.set.Annotations, back)
}

// pass lets time pass for the pods.
func (h *play) pass() {
	h.Pass()
	for _, name := range slices.Sorted(maps.Keys(h.pods)) {
		if pod := h.pods[name]; pod.DeletionTimestamp != nil {
			delete(h.pods, name)
		} else {
			h.pods[name] = h.Become(pod, revisionOf(pod))
		}
	}
}

// Round is one of the controller, after which time passes.
func (h *play) Round(t *testing.T) {
	t.Helper()
	h.decide(t)
	h.pass()
}

// Settled checks that the set is rolled out, and changes no more.
func (h *play) Settled(t *testing.T) {
	t.Helper()
	if s := h.set.Status; s.CurrentRevision != h.Latest || s.AvailableReplicas != *h.set.Spec.Replicas {
		t.Fatalf("%s is not rolled out: %+v", h.Latest, s)
	}
	before := h.set.DeepCopy()
	h.decide(t)
	if !apiequality.Semantic.DeepEqual(before, h.set) {
		t.Errorf("a settled set changes:\n%+v\n%+v", before.Status, h.set.Status)
	}
}

func TestReturnsByChance(t *testing.T) {
	rollbacktest.Histories(t, func(seed uint64) (*play, *rollbacktest.Play) {
		h := newPlay(seed)
		return h, h.Play
	})
}
