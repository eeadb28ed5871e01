package review

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// create sends a review to one of the storages.
func create(ctx context.Context, t *testing.T, all map[string]rest.Storage, resource string, obj runtime.Object) (runtime.Object, error) {
	t.Helper()
	c, ok := all[resource].(rest.Creater)
	if !ok {
		t.Fatalf("%s cannot be created", resource)
	}
	if s := all[resource].(rest.Scoper); s.NamespaceScoped() != strings.HasPrefix(resource, "local") {
		t.Errorf("%s: namespaced %v", resource, s.NamespaceScoped())
	}
	return c.Create(ctx, obj, nil, &metav1.CreateOptions{})
}

// oneToken knows one token, for two audiences.
func oneToken(req *http.Request) (*authenticator.Response, bool, error) {
	switch req.Header.Get("Authorization") {
	case "Bearer good":
		want, _ := authenticator.AudiencesFrom(req.Context())
		both := authenticator.Audiences{"api", "vault"}.Intersect(want)
		if len(both) == 0 {
			return nil, false, errors.New("not for these audiences")
		}
		return &authenticator.Response{Audiences: both, User: &user.DefaultInfo{
			Name: "ann", UID: "7", Groups: []string{"devs"}, Extra: map[string][]string{"k": {"v"}},
		}}, true, nil
	case "Bearer foreign":
		return nil, false, nil
	}
	return nil, false, errors.New("token has expired")
}

func TestTokenReviews(t *testing.T) {
	ann := authenticationv1.UserInfo{Username: "ann", UID: "7", Groups: []string{"devs"}, Extra: map[string]authenticationv1.ExtraValue{"k": {"v"}}}
	for name, x := range map[string]struct {
		spec authenticationv1.TokenReviewSpec
		want authenticationv1.TokenReviewStatus
	}{
		"good":               {authenticationv1.TokenReviewSpec{Token: "good"}, authenticationv1.TokenReviewStatus{Authenticated: true, User: ann, Audiences: []string{"api"}}},
		"for another":        {authenticationv1.TokenReviewSpec{Token: "good", Audiences: []string{"vault", "x"}}, authenticationv1.TokenReviewStatus{Authenticated: true, User: ann, Audiences: []string{"vault"}}},
		"for a third":        {authenticationv1.TokenReviewSpec{Token: "good", Audiences: []string{"x"}}, authenticationv1.TokenReviewStatus{Error: "not for these audiences"}},
		"expired":            {authenticationv1.TokenReviewSpec{Token: "old"}, authenticationv1.TokenReviewStatus{Error: "token has expired"}},
		"of somebody else's": {authenticationv1.TokenReviewSpec{Token: "foreign"}, authenticationv1.TokenReviewStatus{}},
	} {
		all := Authentication(authenticator.RequestFunc(oneToken), []string{"api"})
		got, err := create(t.Context(), t, all, "tokenreviews", &authenticationv1.TokenReview{Spec: x.spec})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(x.want, got.(*authenticationv1.TokenReview).Status); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	all := Authentication(authenticator.RequestFunc(oneToken), nil)
	if _, err := create(t.Context(), t, all, "tokenreviews", &authenticationv1.TokenReview{}); !apierrors.IsBadRequest(err) {
		t.Errorf("without a token: %v", err)
	}
	if _, err := create(t.Context(), t, all, "tokenreviews", &authenticationv1.SelfSubjectReview{}); !apierrors.IsBadRequest(err) {
		t.Errorf("another kind: %v", err)
	}
	refuse := func(context.Context, runtime.Object) error { return errors.New("refused by admission") }
	c := all["tokenreviews"].(rest.Creater)
	if _, err := c.Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: "good"}}, refuse, nil); err == nil {
		t.Error("admission is not asked")
	}
}

func asAnn(t *testing.T) context.Context {
	return genericapirequest.WithUser(t.Context(), &user.DefaultInfo{Name: "ann", Groups: []string{"devs"}})
}

func TestWhoAmI(t *testing.T) {
	all := Authentication(authenticator.RequestFunc(oneToken), nil)
	got, err := create(asAnn(t), t, all, "selfsubjectreviews", &authenticationv1.SelfSubjectReview{})
	if err != nil {
		t.Fatal(err)
	}
	if u := got.(*authenticationv1.SelfSubjectReview).Status.UserInfo; u.Username != "ann" || !slices.Equal(u.Groups, []string{"devs"}) {
		t.Errorf("got %+v", u)
	}
	if _, err := create(t.Context(), t, all, "selfsubjectreviews", &authenticationv1.SelfSubjectReview{}); !apierrors.IsBadRequest(err) {
		t.Errorf("nobody: %v", err)
	}
}

// asked keeps the last question. ann may, bob must not, and about the others
// there is no opinion; the rules fail for eve.
type asked struct{ last authorizer.Attributes }

func (a *asked) authorize(_ context.Context, q authorizer.Attributes) (authorizer.Decision, string, error) {
	a.last = q
	switch q.GetUser().GetName() {
	case "ann":
		return authorizer.DecisionAllow, "may", nil
	case "bob":
		return authorizer.DecisionDeny, "must not", nil
	case "eve":
		return authorizer.DecisionNoOpinion, "", errors.New("broken")
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func TestAccessReviewsAskTheRules(t *testing.T) {
	pods := &authorizationv1.ResourceAttributes{Namespace: "ns", Verb: "get", Group: "g", Resource: "pods", Subresource: "log", Name: "web"}
	for who, want := range map[string]authorizationv1.SubjectAccessReviewStatus{
		"ann": {Allowed: true, Reason: "may"}, "bob": {Denied: true, Reason: "must not"}, "eve": {EvaluationError: "broken"}, "x": {},
	} {
		rules := &asked{}
		all := Authorization(authorizer.AuthorizerFunc(rules.authorize))
		spec := authorizationv1.SubjectAccessReviewSpec{User: who, Groups: []string{"a"}, UID: "1", Extra: map[string]authorizationv1.ExtraValue{"k": {"v"}}, ResourceAttributes: pods}
		got, err := create(t.Context(), t, all, "subjectaccessreviews", &authorizationv1.SubjectAccessReview{Spec: spec})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.(*authorizationv1.SubjectAccessReview).Status); diff != "" {
			t.Errorf("%s (-want +got)\n%s", who, diff)
		}
		q := rules.last
		if u := q.GetUser(); u.GetUID() != "1" || !slices.Equal(u.GetGroups(), []string{"a"}) || !slices.Equal(u.GetExtra()["k"], []string{"v"}) {
			t.Errorf("asked about %+v", u)
		}
		if !q.IsResourceRequest() || q.GetNamespace() != "ns" || q.GetVerb() != "get" || q.GetAPIGroup() != "g" || q.GetAPIVersion() != "*" ||
			q.GetResource() != "pods" || q.GetSubresource() != "log" || q.GetName() != "web" {
			t.Errorf("asked %+v", q)
		}
		local := &authorizationv1.LocalSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: spec}
		answer, err := create(t.Context(), t, all, "localsubjectaccessreviews", local)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, answer.(*authorizationv1.LocalSubjectAccessReview).Status); diff != "" {
			t.Errorf("%s, in a namespace (-want +got)\n%s", who, diff)
		}
	}
	rules := &asked{}
	self := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/healthz", Verb: "get"},
	}}
	got, err := create(asAnn(t), t, Authorization(authorizer.AuthorizerFunc(rules.authorize)), "selfsubjectaccessreviews", self)
	if err != nil || !got.(*authorizationv1.SelfSubjectAccessReview).Status.Allowed {
		t.Errorf("about oneself: %v %v", got, err)
	}
	if q := rules.last; q.IsResourceRequest() || q.GetPath() != "/healthz" || q.GetVerb() != "get" {
		t.Errorf("asked %+v", q)
	}
	if _, err := create(t.Context(), t, Authorization(authorizer.AuthorizerFunc(rules.authorize)), "selfsubjectaccessreviews", self.DeepCopy()); !apierrors.IsBadRequest(err) {
		t.Errorf("nobody: %v", err)
	}
}

func TestAccessReviewsThatAreWrong(t *testing.T) {
	pods := &authorizationv1.ResourceAttributes{Namespace: "ns", Verb: "get", Resource: "pods"}
	path := &authorizationv1.NonResourceAttributes{Path: "/", Verb: "get"}
	named := metav1.ObjectMeta{Name: "x"}
	in := metav1.ObjectMeta{Namespace: "ns"}
	spec := func(user string, r *authorizationv1.ResourceAttributes, p *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewSpec {
		return authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: r, NonResourceAttributes: p}
	}
	for name, x := range map[string]struct {
		resource string
		obj      runtime.Object
		want     []string
	}{
		"no question":     {"subjectaccessreviews", &authorizationv1.SubjectAccessReview{Spec: spec("ann", nil, nil)}, []string{"exactly one of nonResourceAttributes or resourceAttributes must be specified"}},
		"two questions":   {"subjectaccessreviews", &authorizationv1.SubjectAccessReview{Spec: spec("ann", pods, path)}, []string{"exactly one of"}},
		"about nobody":    {"subjectaccessreviews", &authorizationv1.SubjectAccessReview{Spec: spec("", pods, nil)}, []string{`spec.user: Invalid value: "": at least one of user or group must be specified`}},
		"a name":          {"subjectaccessreviews", &authorizationv1.SubjectAccessReview{ObjectMeta: named, Spec: spec("", nil, nil)}, []string{"metadata: Invalid value", "must be empty", "spec.user", "exactly one of"}},
		"a name, oneself": {"selfsubjectaccessreviews", &authorizationv1.SelfSubjectAccessReview{ObjectMeta: named}, []string{"metadata: Invalid value", "exactly one of"}},
		"elsewhere":       {"localsubjectaccessreviews", &authorizationv1.LocalSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Namespace: "other"}, Spec: spec("ann", pods, nil)}, []string{`spec.resourceAttributes.namespace: Invalid value: "ns": must match metadata.namespace`}},
		"a path":          {"localsubjectaccessreviews", &authorizationv1.LocalSubjectAccessReview{ObjectMeta: in, Spec: spec("ann", nil, path)}, []string{"spec.nonResourceAttributes: Invalid value", "disallowed on this kind of request"}},
		"a name, there":   {"localsubjectaccessreviews", &authorizationv1.LocalSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "x"}, Spec: spec("ann", pods, nil)}, []string{"must be empty except for namespace"}},
	} {
		_, err := create(asAnn(t), t, Authorization(authorizer.AuthorizerFunc((&asked{}).authorize)), x.resource, x.obj)
		if !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, w := range x.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q is not in %v", name, w, err)
			}
		}
	}
	// What the server writes itself is no mistake of the client.
	managed := metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}}
	if _, err := create(t.Context(), t, Authorization(authorizer.AuthorizerFunc((&asked{}).authorize)), "subjectaccessreviews", &authorizationv1.SubjectAccessReview{ObjectMeta: managed, Spec: spec("ann", pods, nil)}); err != nil {
		t.Error(err)
	}
}
