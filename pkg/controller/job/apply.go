package job

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// atOnce bounds how many requests for one Job are under way.
const atOnce = 20

// carryOut does what was decided, in the order that Decision names.
func (c *Controller) carryOut(ctx context.Context, j *batchv1.Job, d *Decision) error {
	failure := c.act(ctx, j, d)
	if err := c.write(ctx, j, d); err != nil {
		return err
	}
	if err := c.releaseAll(ctx, j, d.Release); err != nil {
		return err
	}
	if failure == nil {
		c.memory.keep(j.UID, d.Backoff)
	}
	return failure
}

// act deletes and makes pods. Those that could not be made are not active.
func (c *Controller) act(ctx context.Context, j *batchv1.Job, d *Decision) error {
	if err := c.each(ctx, d.Drop, func(ctx context.Context, p *corev1.Pod) error { return c.free(ctx, j.UID, p) }); err != nil {
		return err
	}
	if err := c.hands.Delete(ctx, j, slices.Concat(d.Drop, d.Delete)); err != nil {
		return err
	}
	pods := make([]*corev1.Pod, len(d.Create))
	for i, creation := range d.Create {
		pods[i] = NewPod(j, creation)
	}
	made, err := c.hands.MakeAll(ctx, j, pods)
	d.Status.Active -= int32(len(pods) - made)
	return err
}

func (c *Controller) write(ctx context.Context, j *batchv1.Job, d *Decision) error {
	if !apiequality.Semantic.DeepEqual(d.Status, j.Status) {
		next := j.DeepCopy()
		next.Status = d.Status
		written, err := c.client.BatchV1().Jobs(j.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		c.written.Note(written)
	}
	workload.Record(c.recorder, j, d.Events)
	return nil
}

// releaseAll removes the finalizers of pods that are in the status. They are
// counted at the next look, which is asked for.
func (c *Controller) releaseAll(ctx context.Context, j *batchv1.Job, pods []*corev1.Pod) error {
	if len(pods) == 0 {
		return nil
	}
	err := c.each(ctx, pods, func(ctx context.Context, p *corev1.Pod) error { return c.free(ctx, j.UID, p) })
	c.queue.Add(workload.Key(j))
	return err
}

func (*Controller) each(ctx context.Context, pods []*corev1.Pod, f func(context.Context, *corev1.Pod) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, p := range pods {
		group.Go(func() error { return f(ctx, p) })
	}
	return group.Wait()
}

// free removes the finalizer from a pod, and remembers it for its Job.
func (c *Controller) free(ctx context.Context, job types.UID, p *corev1.Pod) error {
	if slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) {
		patch := fmt.Appendf(nil, `{"metadata":{"uid":%q,"$deleteFromPrimitiveList/finalizers":[%q]}}`, p.UID, batchv1.JobTrackingFinalizer)
		err := c.hands.PatchPod(ctx, p, patch)
		// Conflict and Invalid: another pod has the name by now.
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && !apierrors.IsInvalid(err) {
			return fmt.Errorf("release pod %s: %w", p.Name, err)
		}
	}
	if job != "" {
		c.memory.release(job, p.UID)
	}
	return nil
}

// claim returns the pods of the Job, after it has adopted those that nobody
// has and let go those that are no longer meant. The finalizer comes and goes
// with the ownership, in one write.
func (c *Controller) claim(ctx context.Context, j *batchv1.Job) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector)
	if err != nil {
		return nil, nil //nolint:nilerr // validation refuses such a selector
	}
	all, err := workload.OwnedOrOrphaned[*corev1.Pod](c.pods, j)
	if err != nil {
		return nil, err
	}
	claims := workload.Claim(j, selector, all)
	return workload.Settle(ctx, j, *metav1.NewControllerRef(j, kind()), claims,
		func(ctx context.Context) (metav1.Object, error) {
			return c.client.BatchV1().Jobs(j.Namespace).Get(ctx, j.Name, metav1.GetOptions{})
		},
		func(ctx context.Context, o metav1.Object, patch []byte) error {
			adopted := slices.ContainsFunc(claims.Adopt, func(p *corev1.Pod) bool { return p.UID == o.GetUID() })
			patch, err := withFinalizer(patch, adopted)
			if err != nil {
				return err
			}
			return c.hands.PatchPod(ctx, o, patch)
		})
}

// withFinalizer adds to a strategic merge patch that the finalizer comes or
// goes.
func withFinalizer(patch []byte, comes bool) ([]byte, error) {
	var p struct {
		Metadata map[string]any `json:"metadata"`
	}
	if err := json.Unmarshal(patch, &p); err != nil {
		return nil, err
	}
	key := "$deleteFromPrimitiveList/finalizers"
	if comes {
		key = "finalizers"
	}
	p.Metadata[key] = []string{batchv1.JobTrackingFinalizer}
	return json.Marshal(p)
}

// expire deletes a Job whose time after its end is over.
func (c *Controller) expire(ctx context.Context, j *batchv1.Job) error {
	at, ok := Expiry(j)
	if !ok || j.DeletionTimestamp != nil {
		return nil
	}
	if wait := time.Until(at); wait > 0 {
		c.queue.AddAfter(workload.Key(j), wait)
		return nil
	}
	// What the cache shows may be old: the time may have been extended.
	fresh, err := c.client.BatchV1().Jobs(j.Namespace).Get(ctx, j.Name, metav1.GetOptions{})
	if err != nil || fresh.UID != j.UID {
		return ignoreGone(err)
	}
	if at, ok := Expiry(fresh); !ok || at.After(time.Now()) {
		return nil // its next event comes
	}
	return ignoreGone(c.client.BatchV1().Jobs(j.Namespace).Delete(ctx, j.Name, metav1.DeleteOptions{
		PropagationPolicy: new(metav1.DeletePropagationForeground),
		Preconditions:     &metav1.Preconditions{UID: &j.UID, ResourceVersion: &fresh.ResourceVersion},
	}))
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return workload.Outdated(err)
}

// jobGone sees to the pods of a Job that is deleted: nobody will count them.
func (c *Controller) jobGone(obj any) {
	j, ok := workload.Last[*batchv1.Job](obj)
	if !ok {
		return
	}
	c.memory.forget(j.UID)
	c.hands.Pending.Forget(j.UID)
	if pods, err := workload.OwnedBy[*corev1.Pod](c.pods, j.UID); err == nil {
		for _, p := range pods {
			c.podSeen(p)
		}
	}
}

// podSeen finds pods with the finalizer that no Job is going to count.
func (c *Controller) podSeen(obj any) {
	if p, ok := obj.(*corev1.Pod); ok && slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) && c.stray(p) {
		c.strays.Add(workload.Key(p))
	}
}

// stray says whether a pod has no Job, or one that is over.
func (c *Controller) stray(p *corev1.Pod) bool {
	ref := metav1.GetControllerOfNoCopy(p)
	if ref == nil {
		return len(c.adopters(p)) == 0
	}
	if ref.Kind != kind().Kind {
		return true
	}
	j := c.get(p.Namespace + "/" + ref.Name)
	return j == nil || j.UID != ref.UID || ours(j) && Finished(j)
}

// release lets a stray pod go, once it is sure that it is one.
func (c *Controller) release(ctx context.Context, key string) error {
	obj, exists, err := c.pods.GetByKey(key)
	p, ok := obj.(*corev1.Pod)
	if err != nil || !exists || !ok || !slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) || !c.stray(p) {
		return err
	}
	if ref := metav1.GetControllerOfNoCopy(p); ref != nil && ref.Kind == kind().Kind {
		// The cache of Jobs may be behind that of pods.
		j, err := c.client.BatchV1().Jobs(p.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		switch {
		case err != nil && !apierrors.IsNotFound(err):
			return err
		case err == nil && j.UID == ref.UID && (!ours(j) || !Finished(j)):
			return nil
		}
	}
	return c.free(ctx, "", p)
}
