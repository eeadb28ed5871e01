package apiserver

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/carob-project/carob/pkg/quota"
)

const (
	// quotaPatience is how long a creation waits for a new quota to say how
	// much is used already.
	quotaPatience = 2 * time.Second
	// quotaDeadline bounds what is read and written for one batch.
	quotaDeadline = 8 * time.Second
)

// quotaStore reads quotas as they are stored, past every cache, and writes what
// is charged to them.
type quotaStore struct {
	quotas interface {
		rest.Lister
		rest.Watcher
	}
	status rest.Updater
}

func newQuotaStore(core storageMap) (*quotaStore, error) {
	s := &quotaStore{}
	var listed, updated bool
	s.quotas, listed = core["resourcequotas"].(interface {
		rest.Lister
		rest.Watcher
	})
	s.status, updated = core["resourcequotas/status"].(rest.Updater)
	if !listed || !updated {
		return nil, fmt.Errorf("quotas cannot be read and written: %T", core["resourcequotas"])
	}
	return s, nil
}

// UpdateQuotaStatus implements the library's QuotaAccessor.
func (s *quotaStore) UpdateQuotaStatus(q *corev1.ResourceQuota) error {
	ctx, cancel := quotaContext(q.Namespace)
	defer cancel()
	_, _, err := s.status.Update(ctx, q.Name, rest.DefaultUpdatedObjectInfo(q), nil, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	return err
}

func quotaContext(namespace string) (context.Context, context.CancelFunc) {
	return context.WithTimeout(genericrequest.WithNamespace(context.Background(), namespace), quotaDeadline)
}

// GetQuotas implements the library's QuotaAccessor. A quota that is new, or has
// new bounds, is waited for a moment: until its use is known nothing can be
// charged to it.
func (s *quotaStore) GetQuotas(namespace string) ([]corev1.ResourceQuota, error) {
	ctx, cancel := quotaContext(namespace)
	defer cancel()
	list, err := s.list(ctx)
	if err != nil || known(list) {
		return list.Items, err
	}
	return s.await(ctx, list)
}

func (s *quotaStore) list(ctx context.Context) (*corev1.ResourceQuotaList, error) {
	obj, err := s.quotas.List(ctx, &internalversion.ListOptions{})
	if err != nil {
		return &corev1.ResourceQuotaList{}, fmt.Errorf("error resolving quota: %w", err)
	}
	list, ok := obj.(*corev1.ResourceQuotaList)
	if !ok {
		return &corev1.ResourceQuotaList{}, fmt.Errorf("%T is no list of quotas", obj)
	}
	return list, nil
}

// known says whether all quotas tell how much is used of what they bound now.
func known(list *corev1.ResourceQuotaList) bool {
	return !slices.ContainsFunc(list.Items, func(q corev1.ResourceQuota) bool {
		return q.DeletionTimestamp == nil && !quota.Equal(q.Spec.Hard, q.Status.Hard)
	})
}

func (s *quotaStore) await(ctx context.Context, list *corev1.ResourceQuotaList) ([]corev1.ResourceQuota, error) {
	w, err := s.quotas.Watch(ctx, &internalversion.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return nil, fmt.Errorf("error resolving quota: %w", err)
	}
	defer w.Stop()
	enough := time.NewTimer(quotaPatience)
	defer enough.Stop()
	for {
		select {
		case <-enough.C:
			return list.Items, nil
		case _, open := <-w.ResultChan():
			if list, err = s.list(ctx); err != nil || known(list) || !open {
				return list.Items, err
			}
		}
	}
}
