package deployment

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/rollback"
	"github.com/carob-project/carob/pkg/controller/workload"
)

// Annotations that Kubernetes' clients know.
const (
	annotationRevision = "deployment.kubernetes.io/revision"
	annotationHistory  = "deployment.kubernetes.io/revision-history"
	annotationDesired  = "deployment.kubernetes.io/desired-replicas"
	annotationMax      = "deployment.kubernetes.io/max-replicas"

	hashLabel = appsv1.DefaultDeploymentUniqueLabelKey
	// maxHistory bounds annotationHistory, in characters.
	maxHistory = 2000
)

func wanted(d *appsv1.Deployment) int32 { return ptr.Deref(d.Spec.Replicas, 0) }

func replicas(rs *appsv1.ReplicaSet) int32 { return ptr.Deref(rs.Spec.Replicas, 0) }

func rolling(d *appsv1.Deployment) bool {
	return d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType && d.Spec.Strategy.RollingUpdate != nil
}

// bounds returns how many pods there may be beyond the wanted ones, and how
// many of those may be unavailable. Surge is rounded up, unavailable down, and
// where both would be none a rollout may take one pod away.
func bounds(d *appsv1.Deployment) (surge, unavailable int32) {
	if !rolling(d) {
		return 0, 0
	}
	r, n := d.Spec.Strategy.RollingUpdate, int(wanted(d))
	none := intstr.FromInt32(0)
	s, errS := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(r.MaxSurge, none), n, true)
	u, errU := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(r.MaxUnavailable, none), n, false)
	if errS != nil || errU != nil {
		return 0, 0 // validation refuses such values
	}
	if s == 0 && u == 0 {
		u = 1
	}
	return int32(s), min(int32(u), int32(n))
}

func maxSurge(d *appsv1.Deployment) int32 {
	s, _ := bounds(d)
	return s
}

func minAvailable(d *appsv1.Deployment) int32 {
	_, u := bounds(d)
	return wanted(d) - u
}

func sum(sets []*appsv1.ReplicaSet, f func(*appsv1.ReplicaSet) int32) int32 {
	var n int32
	for _, rs := range sets {
		n += f(rs)
	}
	return n
}

func available(rs *appsv1.ReplicaSet) int32 { return rs.Status.AvailableReplicas }

// sure is how many pods of the set stay available once it has its size: its
// status may be older than that, and those that are not available go first.
func sure(rs *appsv1.ReplicaSet) int32 { return min(available(rs), replicas(rs)) }

func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	return slices.DeleteFunc(slices.Clone(sets), func(rs *appsv1.ReplicaSet) bool { return replicas(rs) == 0 })
}

func byAge(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
}

// revision returns 0 where none is written.
func revision(annotations map[string]string) int64 {
	n, err := strconv.ParseInt(annotations[annotationRevision], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// split returns the set of the deployment's template, the oldest if there are
// several, and all others, oldest first.
func split(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) (current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	for _, rs := range slices.SortedFunc(slices.Values(sets), byAge) {
		if current == nil && workload.SameTemplate(&rs.Spec.Template, &d.Spec.Template, hashLabel) {
			current = rs
			continue
		}
		old = append(old, rs)
	}
	return current, old
}

// newSet returns the set for the deployment's template, without replicas.
func newSet(d *appsv1.Deployment) *appsv1.ReplicaSet {
	hash := workload.Hash(&d.Spec.Template, d.Status.CollisionCount)
	template := *d.Spec.Template.DeepCopy()
	template.Labels = with(template.Labels, hashLabel, hash)
	selector := d.Spec.Selector.DeepCopy()
	selector.MatchLabels = with(selector.MatchLabels, hashLabel, hash)
	name := d.Name[:min(len(d.Name), validation.DNS1123SubdomainMaxLength-1-len(hash))] + "-" + hash
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.Namespace, Name: name, Labels: maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, controllerKind())},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: ptr.To[int32](0), MinReadySeconds: d.Spec.MinReadySeconds, Selector: selector, Template: template,
		},
	}
}

func with(labels map[string]string, key, value string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	out[key] = value
	return out
}

// ownAnnotation says which annotations a deployment and its sets do not share.
func ownAnnotation(key string) bool {
	switch key {
	case corev1.LastAppliedConfigAnnotation, annotationRevision, annotationHistory, annotationDesired, annotationMax,
		appsv1.DeprecatedRollbackTo:
		return true
	}
	return rollback.Own(key)
}

// annotate writes revision and the deployment's annotations to its current
// set; sizes are written only where fresh says that the set is new.
func annotate(d *appsv1.Deployment, rs *appsv1.ReplicaSet, next int64, fresh bool) {
	notes := maps.Clone(rs.Annotations)
	if notes == nil {
		notes = map[string]string{}
	}
	for key, value := range d.Annotations {
		if !ownAnnotation(key) {
			notes[key] = value
		}
	}
	if was := revision(notes); was < next {
		if old, had := notes[annotationRevision]; had {
			notes[annotationHistory] = appendRevision(notes[annotationHistory], old)
		}
		notes[annotationRevision] = strconv.FormatInt(next, 10)
	}
	rs.Annotations = notes
	if fresh {
		noteSizes(d, rs)
	}
}

// appendRevision drops the earliest where the list gets too long.
func appendRevision(list, next string) string {
	if list == "" {
		return next
	}
	all := append(strings.Split(list, ","), next)
	for len(strings.Join(all, ",")) > maxHistory {
		all = all[1:]
	}
	return strings.Join(all, ",")
}

// noteSizes remembers for which size of the deployment the set was sized.
func noteSizes(d *appsv1.Deployment, rs *appsv1.ReplicaSet) {
	rs.Annotations = with(rs.Annotations, annotationDesired, strconv.Itoa(int(wanted(d))))
	rs.Annotations[annotationMax] = strconv.Itoa(int(wanted(d) + maxSurge(d)))
}

// noted reads one of those annotations.
func noted(rs *appsv1.ReplicaSet, key string) (int32, bool) {
	n, err := strconv.ParseUint(rs.Annotations[key], 10, 32)
	if err != nil || n > math.MaxInt32 {
		return 0, false
	}
	return int32(n), true
}
