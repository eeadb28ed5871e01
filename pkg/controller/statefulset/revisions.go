package statefulset

import (
	"hash/fnv"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/revision"
	"github.com/carob-project/carob/pkg/controller/rollback"
)

// hashLabel is where a revision has its hash.
const hashLabel = "controller.kubernetes.io/hash"

func ownerOf(set *appsv1.StatefulSet) revision.Owner {
	return revision.Owner{
		Object: set, Kind: controllerKind(), Template: &set.Spec.Template, Label: hashLabel,
		Hash: func(data []byte) string {
			h := fnv.New32()
			_, _ = h.Write(data)
			_, _ = h.Write([]byte(strconv.Itoa(int(ptr.Deref(set.Status.CollisionCount, 0)))))
			return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
		},
	}
}

// history is what a set's revisions come to.
type history struct {
	revision.History
	// Current is what the set's status names.
	Current *appsv1.ControllerRevision
}

// revise finds the revisions of a set among those it owns.
func revise(set *appsv1.StatefulSet, all []*appsv1.ControllerRevision) (history, error) {
	found, err := revision.Find(ownerOf(set), all)
	if err != nil {
		return history{}, err
	}
	h := history{History: found, Current: found.Latest}
	for _, r := range all {
		if r.Name == set.Status.CurrentRevision && r.Name != h.Latest.Name {
			h.Current = r
		}
	}
	return h, nil
}

// excess returns the oldest revisions beyond the limit that no pod and no
// status needs.
func excess(set *appsv1.StatefulSet, all []*appsv1.ControllerRevision, pods []*corev1.Pod, h history) []*appsv1.ControllerRevision {
	live := map[string]bool{h.Current.Name: true, h.Latest.Name: true}
	if returns(set) {
		live[set.Annotations[rollback.AnnotationComplete]] = true
	}
	for _, p := range pods {
		live[revisionOf(p)] = true
	}
	return revision.Excess(all, live, int(ptr.Deref(set.Spec.RevisionHistoryLimit, 10)))
}
