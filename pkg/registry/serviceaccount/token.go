package serviceaccount

import (
	"context"
	"errors"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/identity"
)

const (
	defaultSeconds = 60 * 60
	leastSeconds   = 10 * 60
	mostSeconds    = 1 << 32
)

// Getters find what a token can be for and bound to.
type Getters struct {
	Accounts, Pods, Secrets, Nodes rest.Getter
}

// TokenREST makes tokens of service accounts. It keeps none.
type TokenREST struct {
	from   Getters
	signer *identity.Signer
	now    func() time.Time
}

var (
	_ rest.NamedCreater                   = &TokenREST{}
	_ rest.GroupVersionKindProvider       = &TokenREST{}
	_ rest.SubresourceObjectMetaPreserver = &TokenREST{}
)

// NewTokenREST returns the subresource token.
func NewTokenREST(from Getters, signer *identity.Signer) *TokenREST {
	return &TokenREST{from: from, signer: signer, now: time.Now}
}

// AddTokenToScheme registers the default age of tokens.
func AddTokenToScheme(s *runtime.Scheme) error {
	s.AddTypeDefaultingFunc(&authenticationv1.TokenRequest{}, func(o any) {
		spec := &o.(*authenticationv1.TokenRequest).Spec
		if spec.ExpirationSeconds == nil {
			spec.ExpirationSeconds = ptr.To[int64](defaultSeconds)
		}
	})
	return nil
}

func tokenKind() schema.GroupVersionKind {
	return authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
}

// New returns an empty TokenRequest.
func (*TokenREST) New() runtime.Object { return &authenticationv1.TokenRequest{} }

// Destroy does nothing: the stores belong to others.
func (*TokenREST) Destroy() {}

// GroupVersionKind names the body, which is of another group than the resource.
func (*TokenREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind { return tokenKind() }

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps the UID of the
// request, which is a precondition on the service account.
func (*TokenREST) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Create signs a token for the service account of that name.
func (r *TokenREST) Create(ctx context.Context, name string, obj runtime.Object,
	validate rest.ValidateObjectFunc, _ *metav1.CreateOptions,
) (runtime.Object, error) {
	req, ok := obj.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a TokenRequest: %T", obj))
	}
	account, err := r.account(ctx, name, req)
	if err != nil {
		return nil, err
	}
	now := r.now()
	complete(req, account, now)
	if errs := validateToken(&req.Spec); len(errs) > 0 {
		return nil, apierrors.NewInvalid(tokenKind().GroupKind(), "", errs)
	}
	if validate != nil {
		if err := validate(ctx, req.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	bound, err := r.bound(ctx, name, req.Spec.BoundObjectRef)
	if err != nil {
		return nil, err
	}
	seconds, warn := lifetime(&req.Spec, bound.Pod != nil)
	claims := identity.New(serviceaccount.MakeUsername(account.Namespace, account.Name), account, bound,
		req.Spec.Audiences, seconds, warn, now)
	token, err := r.signer.Sign(claims)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("failed to generate token: %w", err))
	}
	out := req.DeepCopy()
	out.Status = authenticationv1.TokenRequestStatus{
		Token:               token,
		ExpirationTimestamp: metav1.NewTime(now.Add(time.Duration(*req.Spec.ExpirationSeconds) * time.Second)),
	}
	return out, nil
}

// account returns the service account, if it is the one that the request means.
func (r *TokenREST) account(ctx context.Context, name string, req *authenticationv1.TokenRequest) (*corev1.ServiceAccount, error) {
	namespace := genericapirequest.NamespaceValue(ctx)
	at := field.NewPath("metadata")
	if req.Name != "" && req.Name != name {
		return nil, apierrors.NewInvalid(tokenKind().GroupKind(), name, field.ErrorList{
			field.Invalid(at.Child("name"), req.Name, "must match the service account name if specified")})
	}
	if req.Namespace != "" && req.Namespace != namespace {
		return nil, apierrors.NewInvalid(tokenKind().GroupKind(), name, field.ErrorList{
			field.Invalid(at.Child("namespace"), req.Namespace, "must match the service account namespace if specified")})
	}
	account, err := get[*corev1.ServiceAccount](ctx, r.from.Accounts, name)
	if err != nil {
		return nil, err
	}
	if req.UID != "" && req.UID != account.UID {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: tokenKind().Group, Resource: tokenKind().Kind}, name,
			fmt.Errorf("the UID in the token request (%s) does not match the UID of the service account (%s)", req.UID, account.UID))
	}
	return account, nil
}

// complete fills in what the request leaves out, and takes back what it may not
// say.
func complete(req *authenticationv1.TokenRequest, account *corev1.ServiceAccount, now time.Time) {
	req.Name, req.Namespace, req.UID = account.Name, account.Namespace, account.UID
	req.CreationTimestamp = metav1.NewTime(now)
	req.Status = authenticationv1.TokenRequestStatus{}
	if len(req.Spec.Audiences) == 0 {
		req.Spec.Audiences = []string{identity.Issuer}
	}
	if req.Spec.ExpirationSeconds == nil {
		req.Spec.ExpirationSeconds = ptr.To[int64](defaultSeconds)
	}
}

func validateToken(s *authenticationv1.TokenRequestSpec) field.ErrorList {
	at := field.NewPath("spec")
	var errs field.ErrorList
	switch seconds := *s.ExpirationSeconds; {
	case seconds < leastSeconds:
		errs = append(errs, field.Invalid(at.Child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes"))
	case seconds > mostSeconds:
		errs = append(errs, field.Invalid(at.Child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	if len(s.Attestations) > 0 {
		errs = append(errs, field.Invalid(at.Child("attestations"), s.Attestations,
			"attestations may only be specified with a webhook bound object reference"))
	}
	return errs
}

// lifetime returns how long a token is good for, and after what time its use is
// suspicious. The one that a pod gets without asking lives longer than it says.
func lifetime(s *authenticationv1.TokenRequestSpec, pod bool) (seconds, warn int64) {
	seconds = *s.ExpirationSeconds
	if pod && seconds == identity.InjectedSeconds && len(s.Audiences) == 1 && s.Audiences[0] == identity.Issuer {
		return identity.ExtendedSeconds, seconds
	}
	return seconds, 0
}

// bound returns the object that a token of the named service account shall die
// with.
func (r *TokenREST) bound(ctx context.Context, account string, ref *authenticationv1.BoundObjectReference) (b identity.Bound, err error) {
	if ref == nil {
		return b, nil
	}
	var uid types.UID
	kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	switch kind.GroupKind() {
	case schema.GroupKind{Kind: "Pod"}:
		if b.Pod, err = get[*corev1.Pod](ctx, r.from.Pods, ref.Name); err != nil {
			return b, err
		}
		if b.Pod.Spec.ServiceAccountName != account {
			return b, apierrors.NewBadRequest(fmt.Sprintf(
				"cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account))
		}
		uid = b.Pod.UID
		b.Node, err = r.nodeOf(ctx, b.Pod)
	case schema.GroupKind{Kind: "Secret"}:
		b.Secret, err = get[*corev1.Secret](ctx, r.from.Secrets, ref.Name)
		if err == nil {
			uid = b.Secret.UID
		}
	case schema.GroupKind{Kind: "Node"}:
		b.Node, err = get[*corev1.Node](genericapirequest.WithNamespace(ctx, ""), r.from.Nodes, ref.Name)
		if err == nil {
			uid = b.Node.UID
		}
	default:
		return b, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", kind))
	}
	if err != nil {
		return b, err
	}
	if ref.UID != "" && ref.UID != uid {
		return b, apierrors.NewConflict(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, ref.Name, fmt.Errorf(
			"the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return b, nil
}

// nodeOf returns the pod's node, if it has one. Of a node that is not known the
// name alone is told.
func (r *TokenREST) nodeOf(ctx context.Context, p *corev1.Pod) (*corev1.Node, error) {
	name := p.Spec.NodeName
	if name == "" {
		return nil, nil
	}
	n, err := get[*corev1.Node](genericapirequest.WithNamespace(ctx, ""), r.from.Nodes, name)
	if apierrors.IsNotFound(err) {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, nil
	}
	return n, err
}

func get[T runtime.Object](ctx context.Context, from rest.Getter, name string) (T, error) {
	var none T
	obj, err := from.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return none, err
	}
	t, ok := obj.(T)
	if !ok {
		return none, apierrors.NewInternalError(errors.New("a store has an object of another kind"))
	}
	return t, nil
}
