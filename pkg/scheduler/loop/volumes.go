package loop

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	storagevolume "k8s.io/component-helpers/storage/volume"

	"github.com/carob-project/carob/pkg/scheduler"
)

// watchStorage hangs the handlers of volumes, claims and classes into the
// informers.
func (s *Scheduler) watchStorage(f informers.SharedInformerFactory) error {
	core := f.Core().V1()
	for _, w := range []struct {
		informer  cache.SharedIndexInformer
		set, gone func(obj any)
	}{
		{
			core.PersistentVolumes().Informer(), learn(s, (*scheduler.Snapshot).SetVolume),
			learn(s, func(m *scheduler.Snapshot, v *corev1.PersistentVolume) { m.RemoveVolume(v.Name) }),
		},
		{
			core.PersistentVolumeClaims().Informer(), learn(s, (*scheduler.Snapshot).SetClaim),
			learn(s, func(m *scheduler.Snapshot, c *corev1.PersistentVolumeClaim) { m.RemoveClaim(c.Namespace, c.Name) }),
		},
		{
			f.Storage().V1().StorageClasses().Informer(), learn(s, (*scheduler.Snapshot).SetClass),
			learn(s, func(m *scheduler.Snapshot, c *storagev1.StorageClass) { m.RemoveClass(c.Name) }),
		},
	} {
		reg, err := w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: w.set, UpdateFunc: func(_, now any) { w.set(now) }, DeleteFunc: func(obj any) { w.gone(last(obj)) },
		})
		if err != nil {
			return fmt.Errorf("scheduler: watch volumes: %w", err)
		}
		s.synced = append(s.synced, reg.HasSyncedChecker())
	}
	return nil
}

// learn changes the snapshot and looks again at the pods that use claims.
func learn[T any](s *Scheduler, f func(*scheduler.Snapshot, *T)) func(any) {
	return func(obj any) {
		o, ok := obj.(*T)
		if !ok {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		f(s.snapshot, o)
		s.volumesChanged = true
		s.signal()
	}
}

// claimVolumes writes which volumes the claims of a pod get on its node, and
// lets the pod wait until they are bound. Its place on the node is kept
// meanwhile. What was written once is not written again, so that a try which was
// cut off goes on.
func (s *Scheduler) claimVolumes(ctx context.Context, it *item, pod *corev1.Pod, d decision) {
	var errs []error
	for _, v := range d.volumes {
		errs = append(errs, s.claimVolume(ctx, v, d.node))
	}
	err := errors.Join(errs...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue.items[pod.UID] != it {
		return
	}
	if err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) {
		s.log.Warn("cannot claim volumes", zap.String("pod", podKey(pod)), zap.String("uid", string(pod.UID)), zap.String("node", d.node), zap.Error(err))
	}
	it.failures++
	due := time.Now().Add(backoff(it.failures, retryLeast, retryMost))
	if err != nil {
		due = time.Now().Add(backoff(it.failures, writeRetryLeast, writeRetryMost))
	}
	s.queue.park(it, due, true)
	s.signal()
}

// claimVolume gives one volume to its claim, or names the node on which one is
// to be made for it.
func (s *Scheduler) claimVolume(ctx context.Context, v scheduler.VolumeChoice, node string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	core := s.client.CoreV1()
	if v.Volume == nil {
		if v.Claim.Annotations[storagevolume.AnnSelectedNode] == node {
			return nil
		}
		next := v.Claim.DeepCopy()
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, storagevolume.AnnSelectedNode, node)
		_, err := core.PersistentVolumeClaims(next.Namespace).Update(ctx, next, metav1.UpdateOptions{})
		return err
	}
	next, changed, err := storagevolume.GetBindVolumeToClaim(v.Volume, v.Claim)
	if err != nil || !changed {
		return err
	}
	_, err = core.PersistentVolumes().Update(ctx, next, metav1.UpdateOptions{})
	return err
}
