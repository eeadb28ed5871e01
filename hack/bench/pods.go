package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/internal/testimage"
)

func sleeper(name string) corev1.Container {
	return corev1.Container{Name: name, Image: testimage.DefaultName, Command: []string{"sleep", "100000"}}
}

// podOf is a pod whose containers sleep.
func podOf(name string, containers ...string) *corev1.Pod {
	p := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: ptr.To[int64](0)},
	}
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, sleeper(c))
	}
	return p
}

func benchPod(name string) *corev1.Pod { return podOf(name, "a", "b") }

func (c *carob) pods() typed.PodInterface { return c.client.CoreV1().Pods(metav1.NamespaceDefault) }

// started is how a pod came to run, by this machine's clock.
type started struct {
	uid                                types.UID
	called, accepted, bound, isRunning time.Time
}

func (s started) took() time.Duration { return s.isRunning.Sub(s.called) }

// startPod creates a pod and returns when a watch saw all of its containers
// running.
func (c *carob) startPod(ctx context.Context, p *corev1.Pod) (s started, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	w, err := c.watchPod(ctx, p.Name)
	if err != nil {
		return s, err
	}
	defer w.Stop()
	s.called = time.Now()
	made, err := c.pods().Create(ctx, p, metav1.CreateOptions{})
	if err != nil {
		return s, err
	}
	s.accepted, s.uid = time.Now(), made.UID
	err = await(ctx, w, func(e watch.Event) bool {
		p := e.Object.(*corev1.Pod)
		if s.bound.IsZero() && p.Spec.NodeName != "" {
			s.bound = time.Now()
		}
		return e.Type != watch.Deleted && running(p)
	})
	s.isRunning = time.Now()
	return s, err
}

func (c *carob) watchPod(ctx context.Context, name string) (watch.Interface, error) {
	return c.pods().Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
}

// deletePod deletes a pod with a grace of 1 s and returns how long it took
// until the object was gone, and its processes too.
func (c *carob) deletePod(ctx context.Context, s started, name string) (object, processes time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	containers, shims, err := processesOf(string(s.uid))
	if err != nil {
		return 0, 0, err
	}
	running, err := watchEnds(append(containers, shims...))
	if err != nil {
		return 0, 0, err
	}
	defer running.close()
	w, err := c.watchPod(ctx, name)
	if err != nil {
		return 0, 0, err
	}
	defer w.Stop()
	began := time.Now()
	if err := c.pods().Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](1)}); err != nil {
		return 0, 0, err
	}
	if err := await(ctx, w, func(e watch.Event) bool { return e.Type == watch.Deleted }); err != nil {
		return 0, 0, err
	}
	object = time.Since(began)
	err = running.await(ctx)
	return object, time.Since(began), err
}

func await(ctx context.Context, w watch.Interface, done func(watch.Event) bool) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.ResultChan():
			if !ok {
				return errors.New("the watch ended")
			}
			if e.Type == watch.Error {
				return apierrors.FromObject(e.Object)
			}
			if done(e) {
				return nil
			}
		}
	}
}

func running(p *corev1.Pod) bool {
	n := 0
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Running != nil {
			n++
		}
	}
	return p.Status.Phase == corev1.PodRunning && n == len(p.Spec.Containers)
}

// startPods creates pods, so many at a time, and returns how long it took until
// all run.
func (c *carob) startPods(ctx context.Context, pods []*corev1.Pod, atATime int) (time.Duration, error) {
	began := time.Now()
	if atATime < len(pods) {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(atATime)
		for _, p := range pods {
			g.Go(func() error { _, err := c.startPod(ctx, p); return err })
		}
		err := g.Wait()
		return time.Since(began), err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*timeout)
	defer cancel()
	waiting := map[string]bool{}
	for _, p := range pods {
		waiting[p.Name] = true
	}
	w, err := c.pods().Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	began = time.Now()
	// Beside each other: the API ends a watch that nobody reads.
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range pods {
		g.Go(func() error { _, err := c.pods().Create(ctx, p, metav1.CreateOptions{}); return err })
	}
	g.Go(func() error {
		return await(ctx, w, func(e watch.Event) bool {
			if p := e.Object.(*corev1.Pod); e.Type != watch.Deleted && running(p) {
				delete(waiting, p.Name)
			}
			return len(waiting) == 0
		})
	})
	err = g.Wait()
	return time.Since(began), err
}

// numbered makes pods with numbers in their names, from one on.
func numbered(prefix string, from, n int, containers ...string) []*corev1.Pod {
	var all []*corev1.Pod
	for i := range n {
		all = append(all, podOf(fmt.Sprintf("%s-%d", prefix, from+i), containers...))
	}
	return all
}

// clear deletes the pods of a prefix and waits until they are gone.
func (c *carob) clear(ctx context.Context, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*timeout)
	defer cancel()
	list, err := c.pods().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	left := map[string]bool{}
	for _, p := range list.Items {
		if strings.HasPrefix(p.Name, prefix) {
			left[p.Name] = true
			if err := c.pods().Delete(ctx, p.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
	}
	if len(left) == 0 {
		return nil
	}
	w, err := c.pods().Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return err
	}
	defer w.Stop()
	return await(ctx, w, func(e watch.Event) bool {
		if e.Type == watch.Deleted {
			delete(left, e.Object.(*corev1.Pod).Name)
		}
		return len(left) == 0
	})
}
