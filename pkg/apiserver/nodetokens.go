package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/carob-project/carob/pkg/identity"
	"github.com/carob-project/carob/pkg/pki"
)

// podGetter reads pods from the store.
type podGetter = rest.Getter

// nodeTokens lets a node make only tokens that are bound to a pod of its own:
// whoever takes over a node gets the identities that are there, and no other.
type nodeTokens struct {
	*admission.Handler
	pods podGetter
}

var _ admission.ValidationInterface = (*nodeTokens)(nil)

func newNodeTokens(pods podGetter) *nodeTokens {
	return &nodeTokens{admission.NewHandler(admission.Create), pods}
}

// Validate refuses other tokens, in the words of Kubernetes.
func (n *nodeTokens) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != corev1.Resource("serviceaccounts") || a.GetSubresource() != "token" {
		return nil
	}
	u := a.GetUserInfo()
	if u == nil || !slices.Contains(u.GetGroups(), pki.GroupNodes) {
		return nil
	}
	req, ok := a.GetObject().(*authenticationv1.TokenRequest)
	if !ok {
		return admission.NewForbidden(a, fmt.Errorf("unexpected type %T", a.GetObject()))
	}
	node := strings.TrimPrefix(u.GetName(), pki.NodeUser(""))
	ref := req.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return admission.NewForbidden(a, errors.New("node requested token not bound to a pod"))
	}
	if ref.UID == "" {
		return admission.NewForbidden(a, errors.New("node requested token with a pod binding without a uid"))
	}
	p, err := current[*corev1.Pod](genericapirequest.WithNamespace(ctx, a.GetNamespace()), n.pods, identity.Ref{Name: ref.Name, UID: ref.UID})
	switch {
	case apierrors.IsNotFound(err):
		return err
	case err != nil:
		return admission.NewForbidden(a, err)
	case p.UID != ref.UID:
		return admission.NewForbidden(a, fmt.Errorf(
			"the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	case p.Spec.NodeName != node:
		return admission.NewForbidden(a, errors.New("node requested token bound to a pod scheduled on a different node"))
	}
	return nil
}
