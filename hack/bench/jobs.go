package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
)

// job is one of one pod that runs a command.
func job(name string, command ...string) *batchv1.Job {
	spec := podOf("", "a").Spec
	spec.RestartPolicy = corev1.RestartPolicyNever
	spec.Containers[0].Command = command
	return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: spec}}}
}

// runJob creates a Job and returns when it is finished.
func (c *carob) runJob(ctx context.Context, j *batchv1.Job) error {
	ctx, cancel := context.WithTimeout(ctx, 5*timeout)
	defer cancel()
	jobs := c.client.BatchV1().Jobs(metav1.NamespaceDefault)
	w, err := jobs.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", j.Name).String()})
	if err != nil {
		return err
	}
	defer w.Stop()
	if _, err := jobs.Create(ctx, j, metav1.CreateOptions{}); err != nil {
		return err
	}
	var failed error
	err = await(ctx, w, func(e watch.Event) bool {
		for _, cond := range e.Object.(*batchv1.Job).Status.Conditions {
			if cond.Status != corev1.ConditionTrue {
				continue
			}
			if cond.Type == batchv1.JobFailed {
				failed = fmt.Errorf("job %s failed: %s", j.Name, cond.Message)
				return true
			}
			if cond.Type == batchv1.JobComplete {
				return true
			}
		}
		return false
	})
	return errors.Join(err, failed)
}

// jobs runs many short ones. Each writes a line into a file of its own, which
// tells what was lost and what ran twice.
func (b *bench) jobs(ctx context.Context) error {
	c, err := b.workloads(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.dir, "jobs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	n, atATime := b.n(1000), min(50, b.n(1000))
	g, run := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	began := time.Now()
	for i := range n {
		name := fmt.Sprintf("short-%d", i)
		j := job(name, "sh", "-c", "echo ran >> /out/"+name)
		pod := &j.Spec.Template.Spec
		pod.Volumes = []corev1.Volume{{Name: "out", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}}}}
		pod.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "out", MountPath: "/out"}}
		g.Go(func() error { return c.runJob(run, j) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	took := time.Since(began)
	lost, twice := 0, 0
	for i := range n {
		data, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("short-%d", i)))
		switch lines := bytes.Count(data, []byte("\n")); {
		case errors.Is(err, os.ErrNotExist) || lines == 0:
			lost++
		case err != nil:
			return err
		case lines > 1:
			twice++
		}
	}
	b.report.row(fmt.Sprintf("%d Jobs of one short pod, %d at a time", n, atATime),
		fmt.Sprintf("%d lost, %d run twice, %.1f completions a second", lost, twice, float64(n)/took.Seconds()), "none lost, none twice", lost == 0 && twice == 0)
	return nil
}
