package pod

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/kind"
)

// validateTrustBundle checks a source that is one bundle of certificates, or all
// of a signer that a selector finds.
func validateTrustBundle(b *corev1.ClusterTrustBundleProjection, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case b.Name != nil && b.SignerName != nil:
		errs = append(errs, field.Invalid(at, kind.GoNames{Value: b}, "only one of name and signerName may be used"))
	case b.Name != nil:
		errs = append(errs, validateBundleName(*b.Name, at.Child("name"))...)
		if b.LabelSelector != nil {
			errs = append(errs, field.Invalid(at.Child("labelSelector"), b.LabelSelector, "labelSelector must be unset if name is specified"))
		}
	case b.SignerName != nil:
		if *b.SignerName == "" {
			errs = append(errs, field.Required(at.Child("signerName"), "must be a valid signer name"))
		}
		errs = append(errs, kind.ValidateSignerName(at.Child("signerName"), *b.SignerName)...)
		errs = append(errs, metavalidation.ValidateLabelSelector(b.LabelSelector, metavalidation.LabelSelectorValidationOptions{}, at.Child("labelSelector"))...)
	default:
		errs = append(errs, field.Required(at, "either name or signerName must be specified"))
	}
	if b.Path == "" {
		errs = append(errs, field.Required(at.Child("path"), ""))
	}
	return append(errs, validateFilePath(at.Child("path"), b.Path)...)
}

// validateBundleName: the name of a signer's bundle begins with that of the
// signer.
func validateBundleName(name string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		errs = append(errs, field.Required(at, "must be a valid object name"))
	}
	signer := ""
	if i := strings.LastIndex(name, ":"); i >= 0 {
		signer = strings.ReplaceAll(name[:i], ":", "/")
	}
	for _, msg := range kind.TrustBundleName(signer, name, false) {
		errs = append(errs, field.Invalid(at, name, "not a valid clustertrustbundlename: "+msg))
	}
	return errs
}
