package kind

import (
	"context"

	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
)

// SaidOnce, embedded in a strategy, takes repetitions out of what is wrong with
// an object: the library checks some of the metadata twice. It does so at the
// place where Kubernetes adds what it generates from the types.
type SaidOnce struct{}

var _ rest.DeclarativeValidationStrategy = SaidOnce{}

// ValidateDeclaratively returns the errors it is given, each once.
func (SaidOnce) ValidateDeclaratively(_ context.Context, _, _ runtime.Object, errs field.ErrorList, _ operation.Type,
	_ rest.DeclarativeValidationConfig,
) field.ErrorList {
	var out field.ErrorList
	seen := sets.New[string]()
	for _, e := range errs {
		if text := e.Error(); !seen.Has(text) {
			seen.Insert(text)
			out = append(out, e)
		}
	}
	return out
}

// DeclarativeValidationConfig has no settings.
func (SaidOnce) DeclarativeValidationConfig(context.Context, runtime.Object, runtime.Object) rest.DeclarativeValidationConfig {
	return rest.DeclarativeValidationConfig{}
}
