package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
)

// deployment is one whose pods have one container that sleeps.
func deployment(name string, replicas int) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(replicas)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxSurge: ptr.To(intstr.FromInt32(10)), MaxUnavailable: ptr.To(intstr.FromInt32(0)),
			}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podOf("", "a").Spec},
		},
	}
}

// awaitDeployment waits until a Deployment is as it should be.
func (c *carob) awaitDeployment(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*timeout)
	defer cancel()
	w, err := c.client.AppsV1().Deployments(metav1.NamespaceDefault).Watch(ctx,
		metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		return err
	}
	defer w.Stop()
	return await(ctx, w, func(e watch.Event) bool { return e.Type != watch.Deleted && complete(e.Object.(*appsv1.Deployment)) })
}

func complete(d *appsv1.Deployment) bool {
	n := *d.Spec.Replicas
	return d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == n && d.Status.Replicas == n && d.Status.AvailableReplicas == n
}

// change patches a Deployment and returns how long it took until it was so.
func (c *carob) change(ctx context.Context, name, patch string) (time.Duration, error) {
	began := time.Now()
	if _, err := c.client.AppsV1().Deployments(metav1.NamespaceDefault).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return 0, err
	}
	err := c.awaitDeployment(ctx, name)
	return time.Since(began), err
}

// revision is the number of the last write to etcd.
func (c *carob) revision(ctx context.Context) (int64, error) {
	list, err := c.pods().List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(list.ResourceVersion, 10, 64)
}

// workloadRounds is how often a Deployment and bare pods take turns.
const workloadRounds = 3

// scale compares a Deployment that is scaled up with bare pods, in turns.
func (b *bench) scale(ctx context.Context) error {
	c, err := b.workloads(ctx)
	if err != nil {
		return err
	}
	n := b.n(100)
	if _, err := c.client.AppsV1().Deployments(metav1.NamespaceDefault).Create(ctx, deployment("scaled", 0), metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := c.awaitDeployment(ctx, "scaled"); err != nil {
		return err
	}
	var bare, scaled []time.Duration
	for range workloadRounds {
		took, err := c.startPods(ctx, numbered("bare", 1, n, "a"), n)
		if err != nil {
			return err
		}
		bare = append(bare, took)
		if err := c.clear(ctx, "bare-"); err != nil {
			return err
		}
		if took, err = c.change(ctx, "scaled", fmt.Sprintf(`{"spec":{"replicas":%d}}`, n)); err != nil {
			return err
		}
		scaled = append(scaled, took)
		if err := c.scaleDown(ctx, "scaled"); err != nil {
			return err
		}
	}
	r := ratio(median(scaled), median(bare))
	b.report.row(fmt.Sprintf("Deployment scaled from 0 to %d pods of one container until all are available, against as many bare pods created at once: %s (medians of %d in turns)", n, seconds(median(bare)), workloadRounds),
		fmt.Sprintf("%s, %.2f", seconds(median(scaled)), r), "at most 1.1", r <= 1.1)
	return c.client.AppsV1().Deployments(metav1.NamespaceDefault).Delete(ctx, "scaled", metav1.DeleteOptions{})
}

// scaleDown scales to nothing and waits until the pods are gone.
func (c *carob) scaleDown(ctx context.Context, name string) error {
	if _, err := c.change(ctx, name, `{"spec":{"replicas":0}}`); err != nil {
		return err
	}
	return c.clear(ctx, name+"-")
}

// rollout compares a rolling update with starting as many pods, ten at a time.
func (b *bench) rollout(ctx context.Context) error {
	c, err := b.workloads(ctx)
	if err != nil {
		return err
	}
	n := b.n(50)
	if _, err := c.client.AppsV1().Deployments(metav1.NamespaceDefault).Create(ctx, deployment("rolled", n), metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := c.awaitDeployment(ctx, "rolled"); err != nil {
		return err
	}
	var bare, rolled []time.Duration
	var writes []int64
	for i := range workloadRounds {
		took, err := c.startPods(ctx, numbered("tens", 1, n, "a"), 10)
		if err != nil {
			return err
		}
		bare = append(bare, took)
		if err := c.clear(ctx, "tens-"); err != nil {
			return err
		}
		took, written, err := c.roll(ctx, i)
		if err != nil {
			return err
		}
		rolled, writes = append(rolled, took), append(writes, written)
	}
	r := ratio(median(rolled), median(bare))
	b.report.row(fmt.Sprintf("rolling update of %d pods, maxSurge 10, maxUnavailable 0, against starting %d pods ten at a time: %s (medians of %d in turns)", n, n, seconds(median(bare)), workloadRounds),
		fmt.Sprintf("%s, %.2f", seconds(median(rolled)), r), "at most 1.2", r <= 1.2)
	var sum int64
	for _, w := range writes {
		sum += w
	}
	b.report.row("writes to etcd per pod of such a rollout: the new pod, the old one, their events, the Deployment", fmt.Sprintf("%.1f", float64(sum)/float64(len(writes)*n)), "", true)
	if err := c.scaleDown(ctx, "rolled"); err != nil {
		return err
	}
	return c.client.AppsV1().Deployments(metav1.NamespaceDefault).Delete(ctx, "rolled", metav1.DeleteOptions{})
}

// roll changes the template and waits until the old pods are gone too; it
// returns how long the rollout took, and how much was written.
func (c *carob) roll(ctx context.Context, round int) (time.Duration, int64, error) {
	from, err := c.revision(ctx)
	if err != nil {
		return 0, 0, err
	}
	took, err := c.change(ctx, "rolled", fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"round":"%d"}}}}}`, round))
	if err != nil {
		return 0, 0, err
	}
	if err := c.quiet(ctx, "rolled-"); err != nil {
		return 0, 0, err
	}
	to, err := c.revision(ctx)
	return took, to - from, err
}

// quiet waits until no pod of a prefix is being deleted.
func (c *carob) quiet(ctx context.Context, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	w, err := c.pods().Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	list, err := c.pods().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	leaving := map[string]bool{}
	for _, p := range list.Items {
		if p.DeletionTimestamp != nil && strings.HasPrefix(p.Name, prefix) {
			leaving[p.Name] = true
		}
	}
	if len(leaving) == 0 {
		return nil
	}
	return await(ctx, w, func(e watch.Event) bool {
		if e.Type == watch.Deleted {
			delete(leaving, e.Object.(*corev1.Pod).Name)
		}
		return len(leaving) == 0
	})
}

// workloads is the instance of the sections about controllers.
func (b *bench) workloads(ctx context.Context) (*carob, error) {
	if b.worker != nil {
		return b.worker, nil
	}
	c, err := b.newCarob(ctx, "workloads")
	b.worker = c
	return c, err
}
