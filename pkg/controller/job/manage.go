package job

import (
	"cmp"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// manage makes or deletes pods so that as many run as should. It waits until
// all that was done before is seen, so that nothing is done twice.
func (d *decision) manage() {
	if !d.Settled || d.Job.DeletionTimestamp != nil {
		return
	}
	if d.suspended() {
		d.drop(d.active)
		d.suspend()
		return
	}
	want := d.wanted()
	if surplus := d.surplus(int(want)); len(surplus) > 0 {
		d.drop(surplus[:min(len(surplus), most)])
	} else {
		d.make(int(want))
	}
	d.resume()
}

func (d *decision) drop(pods []*corev1.Pod) {
	d.Drop = pods
	d.leave(pods)
}

// wanted is how many pods should be active.
func (d *decision) wanted() int32 {
	parallelism := *d.Job.Spec.Parallelism
	if d.Job.Spec.Completions == nil {
		if d.succeeded > 0 {
			return int32(len(d.active))
		}
		return parallelism
	}
	return min(parallelism, max(*d.Job.Spec.Completions-d.succeeded, 0))
}

// surplus is which pods have to go: those that share an index with another or
// have none, then the ones that are least of a loss.
func (d *decision) surplus(want int) []*corev1.Pod {
	var surplus, rest []*corev1.Pod
	rest = slices.Clone(d.active)
	slices.SortStableFunc(rest, leastLoss)
	if d.indexed() {
		surplus, rest = d.repeated(rest)
	}
	if n := len(surplus) + len(rest) - want; n > len(surplus) {
		surplus = append(surplus, rest[:n-len(surplus)]...)
	}
	return surplus
}

// repeated splits pods, given in the order of loss, into those whose index is
// none of the Job's or has another pod, and the others.
func (d *decision) repeated(pods []*corev1.Pod) (surplus, rest []*corev1.Pod) {
	seen := Indexes{}
	for _, p := range slices.Backward(pods) {
		if i, ok := d.validIndex(p); ok && !seen.Has(i) {
			seen.add(i)
			rest = append(rest, p)
		} else {
			surplus = append(surplus, p)
		}
	}
	slices.Reverse(rest)
	return surplus, rest
}

// leastLoss orders pods: what has done less comes first.
func leastLoss(a, b *corev1.Pod) int {
	stage := func(p *corev1.Pod) int {
		switch {
		case p.Spec.NodeName == "":
			return 0
		case p.Status.Phase == corev1.PodPending:
			return 1
		case !workload.Ready(p):
			return 2
		default:
			return 3
		}
	}
	return cmp.Or(cmp.Compare(stage(a), stage(b)), b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// make decides which pods to add.
func (d *decision) make(want int) {
	missing := want - len(d.active)
	if d.replacesFailedOnly() {
		missing -= int(d.terminating)
	}
	if missing = min(missing, most); missing <= 0 {
		return
	}
	if !d.perIndex() {
		if at := due(d.backoff.Failures, d.backoff.Last); at.After(d.Now) {
			d.wake(at)
			return
		}
	}
	if !d.indexed() {
		for range missing {
			d.Create = append(d.Create, Creation{Index: -1})
		}
		return
	}
	for _, i := range d.pending(missing) {
		failed := d.waiting[i]
		if failed != nil {
			if at := due(allFailures(failed)+1, endOf(failed)); at.After(d.Now) {
				d.wake(at)
				continue
			}
		}
		d.Create = append(d.Create, Creation{Index: i, Replaces: failed})
	}
}

func (d *decision) suspend() {
	if d.enough() || !d.set(batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended") {
		return
	}
	d.event(corev1.EventTypeNormal, "Suspended", "Job suspended")
	d.Status.StartTime = nil
}

// resume: the deadline counts from when the Job goes on.
func (d *decision) resume() {
	if d.enough() || !d.set(batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed") {
		return
	}
	d.event(corev1.EventTypeNormal, "Resumed", "Job resumed")
	d.Status.StartTime = &metav1.Time{Time: d.Now}
}

// enough: a Job that is complete is neither suspended nor resumed.
func (d *decision) enough() bool {
	c := d.Job.Spec.Completions
	return len(d.active)+len(d.Create) == 0 && (c == nil && d.succeeded > 0 || c != nil && d.succeeded >= *c)
}
