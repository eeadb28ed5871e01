package pod

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/fields"
)

// ValidateTemplate returns everything that would be wrong with the pods made
// from the template, at the template's own paths. It expects the template's
// defaults to be in place.
func ValidateTemplate(t *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	spec := path.Child("spec")
	errs := metavalidation.ValidateLabels(t.Labels, path.Child("labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	errs = append(errs, validateAnnotations(t.Annotations, &t.Spec, path.Child("annotations"))...)
	errs = append(errs, fields.Pod().RefuseAt("spec", &t.Spec, spec)...)
	// What only a pod has as defaults is not asked of a template.
	p := &corev1.Pod{ObjectMeta: *t.ObjectMeta.DeepCopy(), Spec: *t.Spec.DeepCopy()}
	SetDefaults(p)
	errs = append(errs, validateSpec(&p.Spec, spec)...)
	errs = append(errs, validateOldSeccomp(t.Annotations, &t.Spec, spec)...)
	errs = append(errs, validateOldAppArmor(t.Annotations, &t.Spec, spec)...)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}
