package deployment

import (
	"context"
	"fmt"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/rollback"
	"github.com/carob-project/carob/pkg/controller/workload"
)

// carryOut makes the plan's writes. Each but the creation names the version it
// was decided on, so that an outdated decision fails and is made anew.
func (c *Controller) carryOut(ctx context.Context, d *appsv1.Deployment, p Plan) error {
	if p.Create != nil {
		if done, err := c.create(ctx, d, p); done || err != nil {
			return err
		}
	}
	for _, r := range p.Resize {
		now, err := c.client.AppsV1().ReplicaSets(d.Namespace).Update(ctx, r.Set, metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		c.writtenSets.Note(now)
		c.tell(d, r.Set.Name, r.From, replicas(r.Set))
	}
	for _, rs := range p.Delete {
		err := c.client.AppsV1().ReplicaSets(d.Namespace).Delete(ctx, rs.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &rs.UID, ResourceVersion: &rs.ResourceVersion},
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	if err := c.writeStatus(ctx, d, p.Status, p.Revision, p.Complete); err != nil || p.Rollback == nil {
		return err
	}
	return c.rollBack(ctx, d, p.Rollback, p.Why)
}

func (c *Controller) tell(d *appsv1.Deployment, set string, from, to int32) {
	direction := "up"
	switch {
	case from == to:
		return
	case from > to:
		direction = "down"
	}
	c.recorder.Eventf(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled %s replica set %s from %d to %d", direction, set, from, to)
}

// create makes the new set. done says that the status is written and the rest
// is to be decided anew.
func (c *Controller) create(ctx context.Context, d *appsv1.Deployment, p Plan) (done bool, err error) {
	rs := p.Create
	_, err = c.client.AppsV1().ReplicaSets(d.Namespace).Create(ctx, rs, metav1.CreateOptions{})
	switch {
	case err == nil:
		c.tell(d, rs.Name, 0, replicas(rs))
		return false, nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return true, nil
	case apierrors.IsAlreadyExists(err):
		return true, c.collision(ctx, d, rs)
	}
	message := fmt.Sprintf("Failed to create new replica set %q: %v", rs.Name, err)
	c.recorder.Eventf(d, corev1.EventTypeWarning, reasonCreateError, "%s", message)
	if hasDeadline(d) {
		status := *d.Status.DeepCopy()
		q := planner{Input: Input{Now: metav1.Now().Time}, plan: Plan{Status: status}}
		q.set(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonCreateError, message)
		if werr := c.writeStatus(ctx, d, q.plan.Status, d.Annotations[annotationRevision], ""); werr != nil {
			c.log.Debug("status of a failed creation", zap.Error(werr))
		}
	}
	return true, err
}

// collision: the name is taken. It may be by the same set, made a moment ago
// and not seen yet; else another name is found by counting up.
func (c *Controller) collision(ctx context.Context, d *appsv1.Deployment, want *appsv1.ReplicaSet) error {
	is, err := c.client.AppsV1().ReplicaSets(d.Namespace).Get(ctx, want.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if metav1.IsControlledBy(is, d) && workload.SameTemplate(&is.Spec.Template, &d.Spec.Template, hashLabel) {
		return nil // the cache will tell of it
	}
	status := *d.Status.DeepCopy()
	status.CollisionCount = ptr.To(ptr.Deref(status.CollisionCount, 0) + 1)
	return c.writeStatus(ctx, d, status, d.Annotations[annotationRevision], "")
}

func (c *Controller) writeStatus(ctx context.Context, d *appsv1.Deployment, s appsv1.DeploymentStatus, rev, completed string) error {
	if completed == "" {
		completed = d.Annotations[rollback.AnnotationComplete]
	}
	if apiequality.Semantic.DeepEqual(s, d.Status) && d.Annotations[annotationRevision] == rev && d.Annotations[rollback.AnnotationComplete] == completed {
		return nil
	}
	out := d.DeepCopy()
	out.Status = s
	if rev != "" {
		out.Annotations = with(out.Annotations, annotationRevision, rev)
	}
	if completed != "" {
		out.Annotations = with(out.Annotations, rollback.AnnotationComplete, completed)
	}
	now, err := c.client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, out, metav1.UpdateOptions{})
	switch {
	case err == nil:
		c.written.Note(now)
	case apierrors.IsNotFound(err):
		return nil
	}
	return err
}

// rollBack gives the deployment the template of an earlier set.
func (c *Controller) rollBack(ctx context.Context, d *appsv1.Deployment, to *appsv1.ReplicaSet, why string) error {
	now, err := c.client.AppsV1().Deployments(d.Namespace).Get(ctx, d.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if now.UID != d.UID || now.Generation != d.Generation {
		return nil // the user was faster
	}
	now.Spec.Template = *to.Spec.Template.DeepCopy()
	delete(now.Spec.Template.Labels, hashLabel)
	rollback.Mark(now.Annotations)
	if now, err = c.client.AppsV1().Deployments(d.Namespace).Update(ctx, now, metav1.UpdateOptions{}); err != nil {
		return err
	}
	c.written.Note(now)
	c.recorder.Eventf(d, corev1.EventTypeWarning, "DeploymentRollback", "Deployment %q %s", d.Name, why)
	return nil
}
