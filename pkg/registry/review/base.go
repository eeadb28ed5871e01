package review

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// answer is a resource that can only be created, and never exists.
type answer[T runtime.Object] struct {
	singular   string
	namespaced bool
	make       func() T
	// fill returns the review with its status.
	fill func(ctx context.Context, review T) (T, error)
}

var (
	_ rest.Creater              = &answer[runtime.Object]{}
	_ rest.Scoper               = &answer[runtime.Object]{}
	_ rest.Storage              = &answer[runtime.Object]{}
	_ rest.SingularNameProvider = &answer[runtime.Object]{}
)

func (a *answer[T]) New() runtime.Object     { return a.make() }
func (a *answer[T]) Destroy()                {}
func (a *answer[T]) NamespaceScoped() bool   { return a.namespaced }
func (a *answer[T]) GetSingularName() string { return a.singular }

// Create answers the review.
func (a *answer[T]) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	review, ok := obj.(T)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a %s: %T", a.singular, obj))
	}
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	return a.fill(ctx, review)
}

// userFrom returns who asks.
func userFrom(ctx context.Context) (user.Info, error) {
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	return u, nil
}
