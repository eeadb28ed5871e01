package apiserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"

	"github.com/carob-project/carob/pkg/quota"
)

// quotaWorkers is how many namespaces are charged at a time.
const quotaWorkers = 5

// errNoList: what is used in all is the quota controller's to find out.
var errNoList = errors.New("objects are not listed here")

// quotas charge what is created to the ResourceQuotas of its namespace, and
// refuse what exceeds one. The charge is a write of the quota's status that
// names the version it was decided on, so that of any number of requests at the
// same time none goes over.
type quotas struct {
	*admission.Handler
	evaluator resourcequota.Evaluator
}

var _ admission.ValidationInterface = (*quotas)(nil)

func newQuotas(store *quotaStore, drained <-chan struct{}) *quotas {
	registry := generic.NewRegistry(quotaEvaluators())
	return &quotas{
		admission.NewHandler(admission.Create, admission.Update),
		resourcequota.NewQuotaEvaluator(store, nil, registry, nil, nil, quotaWorkers, drained),
	}
}

// Validate implements admission.ValidationInterface.
func (q *quotas) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	r := a.GetResource().GroupResource()
	if a.GetNamespace() == "" || r == corev1.Resource("namespaces") || quota.Ignored(r) {
		return nil
	}
	return q.evaluator.Evaluate(a)
}

// quotaEvaluators are for the kinds of which more than the number matters, or
// which have more than one name; the library counts all others by itself.
func quotaEvaluators() []quotav1.Evaluator {
	var all []quotav1.Evaluator
	for _, resource := range []string{"pods", "persistentvolumeclaims", "services", "configmaps", "secrets", "resourcequotas", "replicationcontrollers"} {
		all = append(all, evaluator{quota.For(corev1.Resource(resource))})
	}
	return all
}

// evaluator tells the library what objects of one kind count for.
type evaluator struct{ kind quota.Kind }

var _ quotav1.Evaluator = evaluator{}

func (e evaluator) GroupResource() schema.GroupResource { return e.kind.Resource }

// Handles reports whether a request can change what is used.
func (e evaluator) Handles(a admission.Attributes) bool {
	if a.GetSubresource() == "" && a.GetOperation() == admission.Create {
		return true
	}
	if a.GetOperation() != admission.Update {
		return false
	}
	switch now := a.GetObject().(type) {
	case *corev1.Pod:
		was, ok := a.GetOldObject().(*corev1.Pod)
		return a.GetSubresource() == "resize" || a.GetSubresource() == "" && ok && quota.Terminating(was) != quota.Terminating(now)
	case *corev1.Service:
		return a.GetSubresource() == ""
	case *corev1.PersistentVolumeClaim:
		was, ok := a.GetOldObject().(*corev1.PersistentVolumeClaim)
		return a.GetSubresource() == "" || a.GetSubresource() == "status" && ok && !apiequality.Semantic.DeepEqual(e.usage(was), e.usage(now))
	}
	return false
}

func (e evaluator) usage(obj any) corev1.ResourceList { return e.kind.Usage(obj, time.Now()) }

// Constraints wants pods to say how much they are for.
func (e evaluator) Constraints(required []corev1.ResourceName, item runtime.Object) error {
	p, ok := item.(*corev1.Pod)
	if !ok {
		return nil
	}
	if text := quota.Unsaid(p, required); text != "" {
		return errors.New(text) //nolint:err113 // Kubernetes' text
	}
	return nil
}

// Matches reports whether a quota is about the object.
func (e evaluator) Matches(q *corev1.ResourceQuota, item runtime.Object) (bool, error) {
	return len(e.MatchingResources(quota.Names(q.Status.Hard))) > 0 && e.kind.Includes(quota.Scopes(&q.Spec), item), nil
}

// MatchingScopes returns those that the object is in.
func (e evaluator) MatchingScopes(item runtime.Object, scopes []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	var in []corev1.ScopedResourceSelectorRequirement
	for _, s := range scopes {
		if e.kind.Includes([]corev1.ScopedResourceSelectorRequirement{s}, item) {
			in = append(in, s)
		}
	}
	return in, nil
}

// UncoveredQuotaScopes returns nothing: no scope needs a quota.
func (evaluator) UncoveredQuotaScopes(_, _ []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	return nil, nil
}

func (e evaluator) MatchingResources(names []corev1.ResourceName) []corev1.ResourceName {
	return e.kind.Tracked(names)
}

// Usage is what one object uses.
func (e evaluator) Usage(item runtime.Object) (corev1.ResourceList, error) {
	used := e.usage(item)
	if used == nil {
		return nil, fmt.Errorf("%T is none of %s", item, e.kind.Resource) //nolint:err113 // cannot happen
	}
	return used, nil
}

// UsageStats is not asked for on admission.
func (evaluator) UsageStats(quotav1.UsageStatsOptions) (quotav1.UsageStats, error) {
	return quotav1.UsageStats{}, errNoList
}
