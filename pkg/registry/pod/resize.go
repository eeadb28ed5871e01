package pod

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// ResizeREST serves the subresource resize, the only way by which the resources
// of a pod that exists change.
type ResizeREST struct {
	store *genericregistry.Store
}

var (
	_ rest.Patcher                   = &ResizeREST{}
	_ rest.ResetFieldsFilterStrategy = &ResizeREST{}
	_ rest.TableConvertor            = &ResizeREST{}
	_ rest.RESTUpdateStrategy        = resizeStrategy{}
)

// New returns an empty Pod.
func (*ResizeREST) New() runtime.Object { return &corev1.Pod{} }

// Destroy does nothing: the store belongs to REST.
func (*ResizeREST) Destroy() {}

// Get returns the pod.
func (r *ResizeREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, options)
}

// Update writes the resources of a pod that exists.
func (r *ResizeREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo,
	createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc,
	_ bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, info, createValidation, updateValidation, false, options)
}

// GetResetFieldsFilter leaves an apply to this subresource nothing but the
// resources of containers, and how they change.
func (*ResizeREST) GetResetFieldsFilter() map[fieldpath.APIVersion]fieldpath.Filter {
	var prefixes []*fieldpath.SetMatcher
	for _, list := range []string{"containers", "initContainers"} {
		for _, name := range []string{"resources", "resizePolicy"} {
			prefixes = append(prefixes, fieldpath.MakePrefixMatcherOrDie("spec", list, fieldpath.MatchAnyPathElement(), name))
		}
	}
	return map[fieldpath.APIVersion]fieldpath.Filter{"v1": fieldpath.NewIncludeMatcherFilter(prefixes...)}
}

// ConvertToTable prints the pod as REST does.
func (r *ResizeREST) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, obj, options)
}

// resizeStrategy is how the subresource writes: resources, and nothing else.
type resizeStrategy struct{ strategy }

func (resizeStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	p, was := obj.(*corev1.Pod), old.(*corev1.Pod)
	keepAllButResources(p, was)
	if p.Spec.Resources == nil {
		// A client that does not know the field leaves it out.
		p.Spec.Resources = was.Spec.Resources.DeepCopy()
	}
	defaultPodLevel(&p.Spec)
	if !apiequality.Semantic.DeepEqual(p.Spec, was.Spec) {
		p.Generation = was.Generation + 1
	}
}

// keepAllButResources takes back every other change. Containers that were
// added, removed or renamed stay as they came, for the validation to tell.
func keepAllButResources(p, was *corev1.Pod) {
	if len(p.Spec.Containers) != len(was.Spec.Containers) || len(p.Spec.InitContainers) != len(was.Spec.InitContainers) {
		return
	}
	spec := *was.Spec.DeepCopy()
	spec.Resources = p.Spec.Resources
	spec.Containers = resized(p.Spec.Containers, spec.Containers)
	spec.InitContainers = resized(p.Spec.InitContainers, spec.InitContainers)
	p.Spec, p.Status = spec, was.Status
	metav1.ResetObjectMetaForStatus(&p.ObjectMeta, &was.ObjectMeta)
}

func resized(now, old []corev1.Container) []corev1.Container {
	for i := range now {
		if now[i].Name != old[i].Name {
			return now
		}
	}
	for i := range now {
		old[i].Resources, old[i].ResizePolicy = now[i].Resources, now[i].ResizePolicy
	}
	return old
}

func (resizeStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return ValidateResize(obj.(*corev1.Pod), old.(*corev1.Pod))
}

func (resizeStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}
