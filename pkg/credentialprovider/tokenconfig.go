package credentialprovider

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubeletv1 "k8s.io/kubelet/config/v1"
	credentialv1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"
)

var cacheTypes = []string{
	string(kubeletv1.ServiceAccountServiceAccountTokenCacheType), string(kubeletv1.TokenServiceAccountTokenCacheType),
}

// validateTokens checks what a plugin wants to know of service accounts.
func validateTokens(at *field.Path, p kubeletv1.CredentialProvider) field.ErrorList {
	var errs field.ErrorList
	t := p.TokenAttributes
	if t.ServiceAccountTokenAudience == "" {
		errs = append(errs, field.Required(at.Child("serviceAccountTokenAudience"), ""))
	}
	if t.RequireServiceAccount == nil {
		errs = append(errs, field.Required(at.Child("requireServiceAccount"), ""))
	}
	if v := credentialv1.SchemeGroupVersion.String(); p.APIVersion != v {
		errs = append(errs, field.Forbidden(at, fmt.Sprintf("tokenAttributes is only supported for %s API version", v)))
	}
	required, optional := at.Child("requiredServiceAccountAnnotationKeys"), at.Child("optionalServiceAccountAnnotationKeys")
	if t.RequireServiceAccount != nil && !*t.RequireServiceAccount && len(t.RequiredServiceAccountAnnotationKeys) > 0 {
		errs = append(errs, field.Forbidden(required, "requireServiceAccount cannot be false when requiredServiceAccountAnnotationKeys is set"))
	}
	errs = append(errs, validateKeys(required, t.RequiredServiceAccountAnnotationKeys)...)
	errs = append(errs, validateKeys(optional, t.OptionalServiceAccountAnnotationKeys)...)
	var both []string
	for _, k := range t.RequiredServiceAccountAnnotationKeys {
		if slices.Contains(t.OptionalServiceAccountAnnotationKeys, k) && !slices.Contains(both, k) {
			both = append(both, k)
		}
	}
	if len(both) > 0 {
		slices.Sort(both)
		errs = append(errs, field.Invalid(at, both, "annotation keys cannot be both required and optional"))
	}
	switch {
	case t.CacheType == "":
		errs = append(errs, field.Required(at.Child("cacheType"),
			"cacheType is required to be set when tokenAttributes is specified. Supported values are: "+strings.Join(cacheTypes, ", ")))
	case !slices.Contains(cacheTypes, string(t.CacheType)):
		errs = append(errs, field.NotSupported(at.Child("cacheType"), string(t.CacheType), cacheTypes))
	}
	return errs
}

// validateKeys: the keys of annotations are qualified names, in any case.
func validateKeys(at *field.Path, keys []string) field.ErrorList {
	var errs field.ErrorList
	for i, k := range keys {
		for _, msg := range validation.IsQualifiedName(strings.ToLower(k)) {
			errs = append(errs, field.Invalid(at.Index(i), k, msg))
		}
		if slices.Contains(keys[:i], k) {
			errs = append(errs, field.Duplicate(at.Index(i), k))
		}
	}
	return errs
}
