package apiserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	authenticationjwt "k8s.io/apiserver/pkg/authentication/token/jwt"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/carob-project/carob/pkg/identity"
	registry "github.com/carob-project/carob/pkg/registry/serviceaccount"
)

// errInvalidated: what a token was bound to is gone. The text is Kubernetes'.
var errInvalidated = errors.New("service account token has been invalidated")

// apiAudiences are those of tokens that are meant for this API.
func apiAudiences() []string { return []string{identity.Issuer} }

// tokens recognises service accounts by the tokens that this instance signed.
type tokens struct {
	signer *identity.Signer
	from   registry.Getters
	now    func() time.Time
}

var _ authenticator.Token = &tokens{}

// AuthenticateToken implements authenticator.Token. A token counts while its
// service account exists, and the object that it is bound to; another object of
// the same name is not the same.
func (t *tokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	c, err := t.signer.Read(token)
	if errors.Is(err, identity.ErrForeign) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	want, ok := authenticator.AudiencesFrom(ctx)
	if !ok {
		want = apiAudiences()
	}
	audiences := authenticator.Audiences(c.Audience).Intersect(want)
	if len(audiences) == 0 {
		return nil, false, fmt.Errorf("token audiences %q is invalid for the target audiences %q", []string(c.Audience), []string(want))
	}
	if err := c.Check(t.now()); err != nil {
		return nil, false, err
	}
	if err := t.stands(ctx, c.Private); err != nil {
		return nil, false, err
	}
	return &authenticator.Response{User: infoOf(c).UserInfo(), Audiences: audiences}, true, nil
}

func infoOf(c identity.Claims) *serviceaccount.ServiceAccountInfo {
	p := c.Private
	info := &serviceaccount.ServiceAccountInfo{
		Namespace: p.Namespace, Name: p.ServiceAccount.Name, UID: string(p.ServiceAccount.UID),
		CredentialID: authenticationjwt.CredentialIDForJTI(c.ID),
	}
	if p.Pod != nil {
		info.PodName, info.PodUID = p.Pod.Name, string(p.Pod.UID)
	}
	if p.Node != nil {
		info.NodeName, info.NodeUID = p.Node.Name, string(p.Node.UID)
	}
	return info
}

// stands says whether everything that a token depends on is still there.
func (t *tokens) stands(ctx context.Context, p identity.Private) error {
	ctx = genericapirequest.WithNamespace(ctx, p.Namespace)
	account, err := current[*corev1.ServiceAccount](ctx, t.from.Accounts, p.ServiceAccount)
	if err != nil {
		return err
	}
	if account.UID != p.ServiceAccount.UID {
		return fmt.Errorf("service account UID (%s) does not match claim (%s)", account.UID, p.ServiceAccount.UID)
	}
	if t.outdated(account) {
		return fmt.Errorf("service account %s/%s has been deleted", p.Namespace, p.ServiceAccount.Name)
	}
	if p.Secret != nil {
		s, err := current[*corev1.Secret](ctx, t.from.Secrets, *p.Secret)
		return t.bound("secret", s, err, *p.Secret)
	}
	if p.Pod != nil {
		o, err := current[*corev1.Pod](ctx, t.from.Pods, *p.Pod)
		return t.bound("pod", o, err, *p.Pod)
	}
	if p.Node != nil {
		n, err := current[*corev1.Node](genericapirequest.WithNamespace(ctx, ""), t.from.Nodes, *p.Node)
		return t.bound("node", n, err, *p.Node)
	}
	return nil
}

func (t *tokens) outdated(o metav1.Object) bool {
	d := o.GetDeletionTimestamp()
	return d != nil && identity.Outdated(d.Time, t.now())
}

// bound decides about the object that a token is bound to, as it was found.
func (t *tokens) bound(kind string, o metav1.Object, err error, ref identity.Ref) error {
	switch {
	case err != nil:
		return errInvalidated
	case o.GetUID() != ref.UID:
		return fmt.Errorf("%s UID (%s) does not match service account %s ref claim (%s)", kind, o.GetUID(), kind, ref.UID)
	case t.outdated(o):
		return errInvalidated
	}
	return nil
}

// current returns the object of that name. The cache may lag behind: only what
// it has under the very UID is taken from there.
func current[T interface {
	comparable
	metav1.Object
}](ctx context.Context, from rest.Getter, ref identity.Ref) (T, error) {
	var none T
	if obj, err := from.Get(ctx, ref.Name, &metav1.GetOptions{ResourceVersion: "0"}); err == nil {
		if o, ok := obj.(T); ok && o.GetUID() == ref.UID {
			return o, nil
		}
	}
	obj, err := from.Get(ctx, ref.Name, &metav1.GetOptions{})
	if err != nil {
		return none, err
	}
	o, ok := obj.(T)
	if !ok {
		return none, fmt.Errorf("%T is not what was asked for", obj)
	}
	return o, nil
}
