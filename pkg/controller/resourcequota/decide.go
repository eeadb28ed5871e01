// Package resourcequota keeps the status of ResourceQuotas: what is used of what
// they bound. The API server adds to it with each creation; this controller
// finds out what was used before the quota came, and takes off what is used no
// more.
package resourcequota

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/carob-project/carob/pkg/quota"
)

const (
	// calm is how long nobody may have charged a quota before something is
	// taken off: an object that was charged for may not exist yet.
	calm = 300 * time.Millisecond
	// hurry is how long a quota that is charged all the time is waited for.
	hurry = 5 * time.Second
)

// Decision is the status a quota should have, and when to look again; 0 is not
// at all.
type Decision struct {
	Status corev1.ResourceQuotaStatus
	After  time.Duration
}

// Decide compares what a quota says with what was found to be used. quiet is
// for how long nothing has been charged to it, waited for how long something could
// have been taken off.
func Decide(q *corev1.ResourceQuota, found corev1.ResourceList, quiet, waited time.Duration) Decision {
	d := Decision{Status: corev1.ResourceQuotaStatus{Hard: q.Spec.Hard.DeepCopy(), Used: corev1.ResourceList{}}}
	if d.Status.Hard == nil {
		d.Status.Hard = corev1.ResourceList{}
	}
	settled := quiet >= calm || waited >= hurry
	for name := range q.Spec.Hard {
		is, known := found[name]
		said, has := q.Status.Used[name]
		switch {
		case !known && !has:
			continue
		case !known:
			is = said
		case has && is.Cmp(said) < 0 && !settled:
			is = said
			d.After = max(calm-quiet, time.Millisecond)
		}
		d.Status.Used[name] = is.DeepCopy()
	}
	return d
}

// Charged reports whether a quota's status says more use than before.
func Charged(was, now *corev1.ResourceQuota) bool {
	for name, amount := range now.Status.Used {
		if before, has := was.Status.Used[name]; !has || amount.Cmp(before) > 0 {
			return true
		}
	}
	return false
}

// Changes reports whether a status says something else than the one that the
// quota has.
func (d Decision) Changes(q *corev1.ResourceQuota) bool {
	return q.Status.Hard == nil || q.Status.Used == nil ||
		!quota.Equal(d.Status.Hard, q.Status.Hard) || !quota.Equal(d.Status.Used, q.Status.Used)
}

// Kinds are those that can use what a quota bounds.
func Kinds(hard corev1.ResourceList) []quota.Kind {
	var kinds []quota.Kind
	seen := map[schema.GroupResource]bool{}
	add := func(r schema.GroupResource) {
		k := quota.For(r)
		if !seen[r] && !quota.Ignored(r) && len(k.Tracked(quota.Names(hard))) > 0 {
			kinds = append(kinds, k)
		}
		seen[r] = true
	}
	for _, resource := range []string{"pods", "persistentvolumeclaims", "services", "configmaps", "secrets", "resourcequotas", "replicationcontrollers"} {
		add(corev1.Resource(resource))
	}
	for _, name := range quota.Names(hard) {
		if resource, ok := strings.CutPrefix(string(name), "count/"); ok {
			add(schema.ParseGroupResource(resource))
		}
	}
	return kinds
}

// Sum adds up what the objects of a kind use of what a quota bounds. What is
// bounded and not used is 0.
func Sum(sum corev1.ResourceList, k quota.Kind, q *corev1.ResourceQuota, objects []any, now time.Time) {
	tracked := k.Tracked(quota.Names(q.Spec.Hard))
	zero(sum, tracked)
	scopes := quota.Scopes(&q.Spec)
	for _, obj := range objects {
		if !k.Includes(scopes, obj) {
			continue
		}
		used := k.Usage(obj, now)
		for _, name := range tracked {
			if amount, ok := used[name]; ok {
				quota.Add(sum, corev1.ResourceList{name: amount})
			}
		}
	}
}

func zero(sum corev1.ResourceList, names []corev1.ResourceName) {
	for _, name := range names {
		if _, has := sum[name]; !has {
			sum[name] = *resource.NewQuantity(0, resource.DecimalSI)
		}
	}
}

// SumCount is Sum for objects of which only the number is known.
func SumCount(sum corev1.ResourceList, k quota.Kind, q *corev1.ResourceQuota, n int) {
	tracked := k.Tracked(quota.Names(q.Spec.Hard))
	zero(sum, tracked)
	if len(quota.Scopes(&q.Spec)) > 0 {
		return // no scope is about such objects
	}
	for _, name := range tracked {
		sum[name] = *resource.NewQuantity(int64(n), resource.DecimalSI)
	}
}

// Frees reports whether a change of a pod can change what it is charged with.
func Frees(was, now *corev1.Pod, at time.Time) bool {
	k := quota.Pods()
	return quota.Terminating(was) != quota.Terminating(now) || !quota.Equal(k.Usage(was, at), k.Usage(now, at))
}

// ChangesClaim reports whether a change of a claim can change what it is charged
// with, or to which quotas.
func ChangesClaim(was, now *corev1.PersistentVolumeClaim) bool {
	k := quota.Claims()
	return !quota.Equal(k.Usage(was, time.Time{}), k.Usage(now, time.Time{})) ||
		!apiequality.Semantic.DeepEqual(was.Spec.VolumeAttributesClassName, now.Spec.VolumeAttributesClassName) ||
		!apiequality.Semantic.DeepEqual(was.Status.CurrentVolumeAttributesClassName, now.Status.CurrentVolumeAttributesClassName) ||
		!apiequality.Semantic.DeepEqual(was.Status.ModifyVolumeStatus, now.Status.ModifyVolumeStatus)
}

// Overdue is how long until the first pod that is being deleted is charged for
// no more; 0 if there is none.
func Overdue(pods []any, now time.Time) time.Duration {
	var first time.Duration
	for _, obj := range pods {
		p, ok := obj.(*corev1.Pod)
		if !ok || !quota.Charged(p, now) {
			continue
		}
		at, ok := quota.Overdue(p)
		if !ok {
			continue
		}
		if left := at.Sub(now) + time.Millisecond; first == 0 || left < first {
			first = left
		}
	}
	return first
}
