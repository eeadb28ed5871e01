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
	// Current is what pods were of before the rollout, see currentOf.
	Current *appsv1.ControllerRevision
}

// revise finds the revisions of a set among those it owns.
func revise(set *appsv1.StatefulSet, all []*appsv1.ControllerRevision) (history, error) {
	found, err := revision.Find(ownerOf(set), all)
	if err != nil {
		return history{}, err
	}
	return history{History: found, Current: currentOf(set, all, found.Latest)}, nil
}

// currentOf is the revision that the set's status names as the one before this
// rollout; without one, the latest. Pods that end at once can all be ready for an
// instant, which makes their revision the current one. A set that returns of
// itself has turned from it all the same, and its last complete one counts.
func currentOf(set *appsv1.StatefulSet, all []*appsv1.ControllerRevision, latest *appsv1.ControllerRevision) *appsv1.ControllerRevision {
	byName := revision.ByName(all)
	named := byName[set.Status.CurrentRevision]
	if named == nil || named.Name == latest.Name {
		return latest
	}
	if complete := byName[set.Annotations[rollback.AnnotationComplete]]; complete != nil && returns(set) {
		return complete
	}
	return named
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
