// Package serviceaccount declares the ServiceAccount kind.
package serviceaccount

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/carob-project/carob/pkg/registry/kind"
)

// Kind declares ServiceAccount. Its fields hold references only, which may
// name things that do not exist yet, so only metadata is checked.
func Kind() kind.Kind[*corev1.ServiceAccount] {
	return kind.Kind[*corev1.ServiceAccount]{
		GVK:        corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
		Resource:   "serviceaccounts",
		Singular:   "serviceaccount",
		ShortNames: []string{"sa"},
		Namespaced: true,
		New:        func() *corev1.ServiceAccount { return &corev1.ServiceAccount{} },
		NewList:    func() runtime.Object { return &corev1.ServiceAccountList{} },
		Main:       kind.Rules[*corev1.ServiceAccount]{Warnings: warnings},
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Secrets", "string", corev1.ServiceAccount{}.SwaggerDoc()["secrets"], false),
			kind.AgeColumn(),
		},
		Row: func(s *corev1.ServiceAccount) []any {
			return []any{s.Name, int64(len(s.Secrets)), kind.Age(s.CreationTimestamp)}
		},
	}
}

// mountableSecrets limits pods to the secrets that their account lists.
const mountableSecrets = "kubernetes.io/enforce-mountable-secrets" //nolint:gosec // the name of an annotation

func warnings(s *corev1.ServiceAccount) []string {
	if _, ok := s.Annotations[mountableSecrets]; !ok {
		return nil
	}
	return []string{"metadata.annotations[" + mountableSecrets + "]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"}
}
