// Package clustertrustbundle declares the ClusterTrustBundle kind: certificates
// of authorities that pods can mount. It must not know how they get there.
package clustertrustbundle

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/kind"
)

const (
	// mostBytes is how long a bundle can be.
	mostBytes = 1 << 20
	// omitted stands for a value too long to repeat.
	omitted = "<value omitted>"
)

type bundle = certificatesv1.ClusterTrustBundle

// Kind declares ClusterTrustBundle.
func Kind() kind.Kind[*bundle] {
	return kind.Kind[*bundle]{
		GVK:      certificatesv1.SchemeGroupVersion.WithKind("ClusterTrustBundle"),
		Resource: "clustertrustbundles",
		Singular: "clustertrustbundle",
		New:      func() *bundle { return &bundle{} },
		NewList:  func() runtime.Object { return &certificatesv1.ClusterTrustBundleList{} },
		// The name depends on the signer: Validate checks it.
		ValidName: func(string, bool) []string { return nil },
		Main: kind.Rules[*bundle]{
			Validate:       func(_ context.Context, b *bundle) field.ErrorList { return validate(b, true) },
			ValidateUpdate: func(_ context.Context, b, old *bundle) field.ErrorList { return validateUpdate(b, old) },
		},
		Fields: func(b *bundle) fields.Set { return fields.Set{"spec.signerName": b.Spec.SignerName} },
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("SignerName", "string", certificatesv1.ClusterTrustBundleSpec{}.SwaggerDoc()["signerName"], false),
		},
		Row: func(b *bundle) []any { return []any{b.Name, kind.OrNone(b.Spec.SignerName)} },
	}
}

func validateUpdate(b, old *bundle) field.ErrorList {
	// What is not changed is not read again, by a library that may have
	// become stricter.
	errs := validate(b, b.Spec.TrustBundle != old.Spec.TrustBundle)
	return append(errs, apivalidation.ValidateImmutableField(b.Spec.SignerName, old.Spec.SignerName, field.NewPath("spec", "signerName"))...)
}

func validate(b *bundle, content bool) field.ErrorList {
	var errs field.ErrorList
	meta, spec := field.NewPath("metadata"), field.NewPath("spec")
	if b.GenerateName != "" {
		for _, msg := range kind.TrustBundleName(b.Spec.SignerName, b.GenerateName, true) {
			errs = append(errs, field.Invalid(meta.Child("generateName"), b.GenerateName, msg))
		}
	}
	if b.Name != "" {
		for _, msg := range kind.TrustBundleName(b.Spec.SignerName, b.Name, false) {
			errs = append(errs, field.Invalid(meta.Child("name"), b.Name, msg))
		}
	}
	if b.Spec.SignerName != "" {
		errs = append(errs, kind.ValidateSignerName(spec.Child("signerName"), b.Spec.SignerName)...)
	}
	if content {
		errs = append(errs, validateContent(b.Spec.TrustBundle, spec.Child("trustBundle"))...)
	}
	return errs
}

// validateContent wants certificates of authorities, at least one and none
// twice.
func validateContent(text string, at *field.Path) field.ErrorList {
	if len(text) > mostBytes {
		return field.ErrorList{field.TooLong(at, "", mostBytes)}
	}
	var errs field.ErrorList
	places := map[string][]int{}
	rest := []byte(text)
	for i := 0; ; i++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if what := wrong(block); what != "" {
			errs = append(errs, field.Invalid(at, omitted, fmt.Sprintf("entry %d %s", i, what)))
			continue
		}
		places[string(block.Bytes)] = append(places[string(block.Bytes)], i)
	}
	if len(errs) > 0 {
		return errs
	}
	if len(places) == 0 {
		errs = append(errs, field.Invalid(at, omitted, "at least one trust anchor must be provided"))
	}
	for _, der := range slices.Sorted(maps.Keys(places)) {
		if indices := places[der]; len(indices) > 1 {
			errs = append(errs, field.Invalid(at, omitted, fmt.Sprintf("duplicate trust anchor (indices %v)", indices)))
		}
	}
	return errs
}

// wrong says what keeps a block from being an authority's certificate.
func wrong(block *pem.Block) string {
	if block.Type != "CERTIFICATE" {
		return "has bad block type: " + block.Type
	}
	if len(block.Headers) != 0 {
		return "has PEM block headers"
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return "does not parse as X.509"
	case !cert.IsCA:
		return "does not have the CA bit set"
	case !cert.BasicConstraintsValid:
		return "has invalid basic constraints"
	}
	return ""
}
