package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const settledWatch = 2 * time.Minute

// settled watches an instance whose controllers have nothing to do.
func (b *bench) settled(ctx context.Context) error {
	c, d, err := b.onDisk(ctx, "settled")
	if err != nil {
		return err
	}
	many, crons := b.n(200), b.n(50)
	g, make := errgroup.WithContext(ctx)
	g.SetLimit(10)
	for i := range many {
		g.Go(func() error {
			name := fmt.Sprintf("settled-%d", i)
			if _, err := c.client.AppsV1().Deployments(metav1.NamespaceDefault).Create(make, deployment(name, 1), metav1.CreateOptions{}); err != nil {
				return err
			}
			return c.awaitDeployment(make, name)
		})
		g.Go(func() error { return c.runJob(make, job(fmt.Sprintf("finished-%d", i), "true")) })
	}
	for i := range crons {
		cron := &batchv1.CronJob{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("waiting-%d", i)},
			// Once in a year, and not now.
			Spec: batchv1.CronJobSpec{Schedule: fmt.Sprintf("0 0 1 %d *", (time.Now().Month()+5)%12+1), JobTemplate: batchv1.JobTemplateSpec{Spec: job("", "true").Spec}},
		}
		g.Go(func() error {
			_, err := c.client.BatchV1().CronJobs(metav1.NamespaceDefault).Create(make, cron, metav1.CreateOptions{})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := settle(ctx, settleTime+b.calm); err != nil {
		return err
	}
	from, err := c.revision(ctx)
	if err != nil {
		return err
	}
	before, err := d.written()
	if err != nil {
		return err
	}
	r, err := b.watch(ctx, c.meter, settledWatch)
	if err != nil {
		return err
	}
	after, err := d.written()
	if err != nil {
		return err
	}
	to, err := c.revision(ctx)
	if err != nil {
		return err
	}
	b.report.row(fmt.Sprintf("idle CPU of carob and its containerd with %d Deployments of one pod, %d finished Jobs, %d CronJobs, over %v", many, many, crons, settledWatch),
		r.tell(), "under 3 %", r.own() < 3)
	b.report.row(fmt.Sprintf("written meanwhile, from %v after the last start", settleTime+b.calm), fmt.Sprintf("%d writes to etcd; %s to its disk", to-from, kib(after-before)), "nothing", to == from && after == before)
	return c.destroy()
}
