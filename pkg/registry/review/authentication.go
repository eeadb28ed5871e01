package review

import (
	"context"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Authentication returns what authentication.k8s.io/v1 serves. requests
// recognises those who send a token; audiences are those of the API itself.
func Authentication(requests authenticator.Request, audiences []string) map[string]rest.Storage {
	tokens := tokenReviews{requests, audiences}
	return map[string]rest.Storage{
		"tokenreviews": &answer[*authenticationv1.TokenReview]{
			singular: "tokenreview", make: func() *authenticationv1.TokenReview { return &authenticationv1.TokenReview{} }, fill: tokens.fill,
		},
		"selfsubjectreviews": &answer[*authenticationv1.SelfSubjectReview]{
			singular: "selfsubjectreview", make: func() *authenticationv1.SelfSubjectReview { return &authenticationv1.SelfSubjectReview{} }, fill: whoAmI,
		},
	}
}

type tokenReviews struct {
	requests  authenticator.Request
	audiences []string
}

// fill asks whose token it is, as if it came with a request.
func (t tokenReviews) fill(ctx context.Context, r *authenticationv1.TokenReview) (*authenticationv1.TokenReview, error) {
	if r.Spec.Token == "" {
		return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	want := authenticator.Audiences(r.Spec.Audiences)
	if len(want) == 0 {
		want = t.audiences
	}
	req := (&http.Request{Header: http.Header{"Authorization": {"Bearer " + r.Spec.Token}}}).
		WithContext(authenticator.WithAudiences(ctx, want))
	found, ok, err := t.requests.AuthenticateRequest(req)
	r.Status = authenticationv1.TokenReviewStatus{Authenticated: ok}
	if err != nil {
		r.Status.Error = err.Error()
	}
	if ok && found != nil && found.User != nil {
		r.Status.User = userInfo(found.User)
		r.Status.Audiences = found.Audiences
	}
	return r, nil
}

func whoAmI(ctx context.Context, _ *authenticationv1.SelfSubjectReview) (*authenticationv1.SelfSubjectReview, error) {
	u, err := userFrom(ctx)
	if err != nil {
		return nil, err
	}
	return &authenticationv1.SelfSubjectReview{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(time.Now())},
		Status:     authenticationv1.SelfSubjectReviewStatus{UserInfo: userInfo(u)},
	}, nil
}

func userInfo(u user.Info) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups()}
	for key, values := range u.GetExtra() {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[key] = values
	}
	return info
}
