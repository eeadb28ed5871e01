package daemonset

import (
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/controller/rollback/rollbacktest"
)

// play is a set in a history by chance.
type play struct {
	*rollbacktest.Play
	set   *appsv1.DaemonSet
	nodes []*corev1.Node
	pods  []*corev1.Pod
	made  int
	fails Failures
}

func newPlay(seed uint64) *play {
	h := &play{Play: rollbacktest.New(seed)}
	h.set = daemon([]func(*appsv1.DaemonSet){nil, surge("1")}[h.IntN(2)])
	h.set.Annotations = rollbacktest.Annotations()
	for i := range 1 + h.IntN(4) {
		h.nodes = append(h.nodes, node(fmt.Sprint("n", i)))
	}
	return h
}

// decide carries out one round of the controller.
func (h *play) decide(t *testing.T) {
	t.Helper()
	all, latest := h.Revisions()
	p := Decide(Input{Set: h.set, Pods: h.pods, Nodes: h.nodes, Hash: latest.Labels[hashLabel], Failures: h.fails, Now: h.Now})
	back := follow(h.set, h.pods, all, latest, &p, h.Now)
	h.fails = p.Failures
	for _, gone := range p.Delete {
		for _, q := range h.pods {
			if q.UID == gone.UID {
				q.DeletionTimestamp = &metav1.Time{Time: h.Now}
			}
		}
	}
	for _, c := range p.Create {
		h.made++
		c.Name = fmt.Sprint("p", h.made)
		c.UID, c.CreationTimestamp, c.Status.Phase, c.Spec.NodeName = types.UID(c.Name), metav1.NewTime(h.Now), corev1.PodPending, nodeOf(c)
		h.pods = append(h.pods, c)
	}
	h.set.Status = p.Status
	h.set.Annotations = h.Follow(t, h.set.Annotations, back)
}

// pass lets time pass for the pods.
func (h *play) pass() {
	h.Pass()
	h.pods = slices.DeleteFunc(h.pods, func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	for i, p := range h.pods {
		h.pods[i] = h.Become(p, p.Labels[hashLabel])
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
	if s := h.set.Status; int(s.UpdatedNumberScheduled) != len(h.nodes) || int(s.NumberAvailable) != len(h.nodes) {
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
