package pod

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateTolerations checks a list of tolerations, a pod's or another's.
func ValidateTolerations(tolerations []corev1.Toleration, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, t := range tolerations {
		errs = append(errs, validateToleration(&t, at.Index(i))...)
	}
	return errs
}

func validateToleration(t *corev1.Toleration, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Key != "" {
		errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
	} else if t.Operator != corev1.TolerationOpExists {
		errs = append(errs, field.Invalid(at.Child("operator"), t.Operator,
			"operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
	}
	if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
		errs = append(errs, field.Invalid(at.Child("effect"), t.Effect,
			"effect must be 'NoExecute' when `tolerationSeconds` is set"))
	}
	switch t.Operator {
	case corev1.TolerationOpEqual, "":
		if messages := validation.IsValidLabelValue(t.Value); len(messages) > 0 {
			errs = append(errs, field.Invalid(at.Child("operator"), t.Value, strings.Join(messages, ";")))
		}
	case corev1.TolerationOpExists:
		if t.Value != "" {
			errs = append(errs, field.Invalid(at.Child("operator"), t.Value,
				"value must be empty when `operator` is 'Exists'"))
		}
	case corev1.TolerationOpLt, corev1.TolerationOpGt:
		errs = append(errs, invalid(at.Child("value"), t.Value, content.IsDecimalInteger(t.Value))...)
		if _, err := strconv.ParseInt(t.Value, 10, 64); err != nil {
			errs = append(errs, field.Invalid(at.Child("value"), t.Value, err.Error()))
		}
	default:
		errs = append(errs, field.NotSupported(at.Child("operator"), t.Operator,
			[]corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
	}
	if t.Effect != "" {
		errs = append(errs, oneOf(at.Child("effect"), t.Effect, corev1.TaintEffectNoSchedule,
			corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)...)
	}
	return errs
}

// What a resolver of a pod may be given.
const (
	maxNameservers   = 3
	maxSearches      = 32
	maxSearchesChars = 2048
)

func validateDNS(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	at := path.Child("dnsConfig")
	if s.DNSPolicy == corev1.DNSNone {
		switch {
		case s.DNSConfig == nil:
			return field.ErrorList{field.Required(at,
				fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", corev1.DNSNone))}
		case len(s.DNSConfig.Nameservers) == 0:
			return field.ErrorList{field.Required(at.Child("nameservers"),
				fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone))}
		}
	}
	if s.DNSConfig == nil {
		return nil
	}
	return validateDNSConfig(s.DNSConfig, at)
}

func validateDNSConfig(c *corev1.PodDNSConfig, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	servers, searches := at.Child("nameservers"), at.Child("searches")
	if len(c.Nameservers) > maxNameservers {
		errs = append(errs, field.Invalid(servers, c.Nameservers,
			fmt.Sprintf("must not have more than %d nameservers", maxNameservers)))
	}
	for i, ip := range c.Nameservers {
		errs = append(errs, validateIP(servers.Index(i), ip)...)
	}
	if len(c.Searches) > maxSearches {
		errs = append(errs, field.Invalid(searches, c.Searches,
			fmt.Sprintf("must not have more than %d search paths", maxSearches)))
	}
	if len(strings.Join(c.Searches, " ")) > maxSearchesChars {
		errs = append(errs, field.Invalid(searches, c.Searches, fmt.Sprintf("must not have more than "+
			"%d characters (including spaces) in the search list", maxSearchesChars)))
	}
	for i, domain := range c.Searches {
		if domain == "." {
			continue
		}
		domain = strings.TrimSuffix(domain, ".")
		errs = append(errs, invalid(searches.Index(i), domain, validation.IsDNS1123SubdomainWithUnderscore(domain))...)
	}
	for i, option := range c.Options {
		if option.Name == "" {
			errs = append(errs, field.Required(at.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}
