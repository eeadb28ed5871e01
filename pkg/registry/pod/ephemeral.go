package pod

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/carob-project/carob/pkg/registry/kind"

	engine "github.com/carob-project/carob/pkg/pod"
)

// EphemeralREST serves the subresource ephemeralcontainers, by which kubectl
// debug adds containers to a pod that exists.
type EphemeralREST struct {
	store *genericregistry.Store
}

var (
	_ rest.Patcher                   = &EphemeralREST{}
	_ rest.ResetFieldsFilterStrategy = &EphemeralREST{}
	_ rest.TableConvertor            = &EphemeralREST{}
	_ rest.RESTUpdateStrategy        = ephemeralStrategy{}
)

// New returns an empty Pod.
func (*EphemeralREST) New() runtime.Object { return &corev1.Pod{} }

// Destroy does nothing: the store belongs to REST.
func (*EphemeralREST) Destroy() {}

// Get returns the pod.
func (r *EphemeralREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, options)
}

// Update writes the ephemeral containers of a pod that exists.
func (r *EphemeralREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo,
	createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc,
	_ bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, info, createValidation, updateValidation, false, options)
}

// GetResetFieldsFilter leaves an apply to this subresource nothing but the
// ephemeral containers.
func (*EphemeralREST) GetResetFieldsFilter() map[fieldpath.APIVersion]fieldpath.Filter {
	return map[fieldpath.APIVersion]fieldpath.Filter{
		"v1": fieldpath.NewIncludeMatcherFilter(fieldpath.MakePrefixMatcherOrDie("spec", "ephemeralContainers")),
	}
}

// ConvertToTable prints the pod as REST does.
func (r *EphemeralREST) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, obj, options)
}

// ephemeralStrategy is how the subresource writes: the ephemeral containers,
// and nothing else.
type ephemeralStrategy struct{ strategy }

func (ephemeralStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	p, was := obj.(*corev1.Pod), old.(*corev1.Pod)
	added := p.Spec.EphemeralContainers
	p.Spec, p.Status = *was.Spec.DeepCopy(), was.Status
	metav1.ResetObjectMetaForStatus(&p.ObjectMeta, &was.ObjectMeta)
	p.Spec.EphemeralContainers = added
	if !apiequality.Semantic.DeepEqual(p.Spec, was.Spec) {
		p.Generation = was.Generation + 1
	}
}

func (ephemeralStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return ValidateEphemeralUpdate(obj.(*corev1.Pod), old.(*corev1.Pod))
}

func (ephemeralStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// ValidateEphemeralUpdate returns what is wrong with a change of a pod's
// ephemeral containers, of which it may only get more.
func ValidateEphemeralUpdate(p, old *corev1.Pod) field.ErrorList {
	at := field.NewPath("spec", "ephemeralContainers")
	errs := Refuse(&corev1.PodSpec{EphemeralContainers: p.Spec.EphemeralContainers}, field.NewPath("spec"))
	errs = append(errs, validatePodSpec(&p.Spec, field.NewPath("spec"))...)
	for i := range old.Spec.EphemeralContainers {
		was := &old.Spec.EphemeralContainers[i]
		is := slices.IndexFunc(p.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == was.Name })
		switch {
		case is < 0:
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name)))
		case !apiequality.Semantic.DeepEqual(*was, p.Spec.EphemeralContainers[is]):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v",
				was.Name, diff.Diff(kind.GoNames{Value: *was}, kind.GoNames{Value: p.Spec.EphemeralContainers[is]}))))
		}
	}
	return errs
}

// validateEphemeral checks the ephemeral containers that a pod has. Which of
// their fields must not be set at all is in the table of the fields.
func validateEphemeral(s *corev1.PodSpec, volumes sets.Set[string], path *field.Path) field.ErrorList {
	var errs field.ErrorList
	targets := sets.New[string]()
	for _, c := range slices.Concat(s.InitContainers, s.Containers) {
		targets.Insert(c.Name)
	}
	names := targets.Clone()
	for i := range s.EphemeralContainers {
		e, at := &s.EphemeralContainers[i], path.Index(i)
		c := corev1.Container(e.EphemeralContainerCommon)
		errs = append(errs, validateContainer(&c, volumes, engine.OwnUsers(s), at)...)
		if strings.TrimSpace(c.Image) != c.Image {
			errs = append(errs, field.Invalid(at.Child("image"), c.Image, "must not have leading or trailing whitespace"))
		}
		if names.Has(c.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		}
		names.Insert(c.Name)
		if t := e.TargetContainerName; t != "" && !targets.Has(t) {
			errs = append(errs, field.NotFound(at.Child("targetContainerName"), t))
		}
	}
	return errs
}
