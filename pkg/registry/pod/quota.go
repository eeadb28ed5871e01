package pod

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// QuotaResource says whether a name is one of Kubernetes' own for what a quota
// bounds.
func QuotaResource(name string) bool {
	return standardResource(name) && !strings.Contains(name, "/") && corev1.ResourceName(name) != corev1.ResourceStorage
}

// ValidateQuotaResource checks the name of a resource that a quota bounds.
func ValidateQuotaResource(name string, at *field.Path) field.ErrorList {
	errs := invalid(at, name, validation.IsQualifiedName(name))
	if strings.Contains(name, "/") {
		return errs
	}
	if len(errs) == 0 && !standardResource(name) {
		errs = append(errs, field.Invalid(at, name, "must be a standard resource type or fully qualified"))
	}
	if !QuotaResource(name) {
		errs = append(errs, field.Invalid(at, name, "must be a standard resource for quota"))
	}
	return errs
}

// ValidateQuotaAmount checks an amount: of what is counted, only whole ones.
func ValidateQuotaAmount(name string, amount resource.Quantity, at *field.Path) field.ErrorList {
	errs := validateQuantity(at, amount)
	if counted(name) && amount.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(at, amount, "must be an integer"))
	}
	return errs
}

// counted says whether there are only whole ones of a resource.
func counted(name string) bool {
	switch corev1.ResourceName(name) {
	case corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers,
		corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
		corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers:
		return true
	}
	return strings.Contains(name, "/") && !strings.Contains(name, corev1.ResourceDefaultNamespacePrefix) && extendedResource(name)
}
