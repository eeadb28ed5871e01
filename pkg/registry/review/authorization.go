package review

import (
	"context"

	authorizationv1 "k8s.io/api/authorization/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Authorization returns what authorization.k8s.io/v1 serves.
func Authorization(rules authorizer.Authorizer) map[string]rest.Storage {
	a := accessReviews{rules}
	return map[string]rest.Storage{
		"selfsubjectaccessreviews": &answer[*authorizationv1.SelfSubjectAccessReview]{
			singular: "selfsubjectaccessreview", fill: a.self,
			make: func() *authorizationv1.SelfSubjectAccessReview { return &authorizationv1.SelfSubjectAccessReview{} },
		},
		"subjectaccessreviews": &answer[*authorizationv1.SubjectAccessReview]{
			singular: "subjectaccessreview", fill: a.subject,
			make: func() *authorizationv1.SubjectAccessReview { return &authorizationv1.SubjectAccessReview{} },
		},
		"localsubjectaccessreviews": &answer[*authorizationv1.LocalSubjectAccessReview]{
			singular: "localsubjectaccessreview", namespaced: true, fill: a.local,
			make: func() *authorizationv1.LocalSubjectAccessReview { return &authorizationv1.LocalSubjectAccessReview{} },
		},
	}
}

type accessReviews struct{ rules authorizer.Authorizer }

func (a accessReviews) self(ctx context.Context, r *authorizationv1.SelfSubjectAccessReview) (*authorizationv1.SelfSubjectAccessReview, error) {
	u, err := userFrom(ctx)
	if err != nil {
		return nil, err
	}
	errs := oneQuestion(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	errs = append(errs, noMetadata(r.ObjectMeta, "must be empty")...)
	if len(errs) > 0 {
		return nil, invalid("SelfSubjectAccessReview", errs)
	}
	r.Status = a.decide(ctx, u, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return r, nil
}

func (a accessReviews) subject(ctx context.Context, r *authorizationv1.SubjectAccessReview) (*authorizationv1.SubjectAccessReview, error) {
	errs := append(validateSpec(&r.Spec), noMetadata(r.ObjectMeta, "must be empty")...)
	if len(errs) > 0 {
		return nil, invalid("SubjectAccessReview", errs)
	}
	r.Status = a.decide(ctx, subjectOf(&r.Spec), r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return r, nil
}

func (a accessReviews) local(ctx context.Context, r *authorizationv1.LocalSubjectAccessReview) (*authorizationv1.LocalSubjectAccessReview, error) {
	errs := validateSpec(&r.Spec)
	meta := r.ObjectMeta
	meta.Namespace = ""
	errs = append(errs, noMetadata(meta, "must be empty except for namespace")...)
	at := field.NewPath("spec")
	if ra := r.Spec.ResourceAttributes; ra != nil && ra.Namespace != r.Namespace {
		errs = append(errs, field.Invalid(at.Child("resourceAttributes", "namespace"), ra.Namespace, "must match metadata.namespace"))
	}
	if nra := r.Spec.NonResourceAttributes; nra != nil {
		errs = append(errs, field.Invalid(at.Child("nonResourceAttributes"), nra, "disallowed on this kind of request"))
	}
	if len(errs) > 0 {
		return nil, invalid("LocalSubjectAccessReview", errs)
	}
	r.Status = a.decide(ctx, subjectOf(&r.Spec), r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return r, nil
}

// decide asks the rules.
func (a accessReviews) decide(ctx context.Context, u user.Info, r *authorizationv1.ResourceAttributes, p *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	question := authorizer.AttributesRecord{User: u}
	if r != nil {
		question.Verb, question.Namespace, question.Name = r.Verb, r.Namespace, r.Name
		question.APIGroup, question.APIVersion = r.Group, r.Version
		question.Resource, question.Subresource, question.ResourceRequest = r.Resource, r.Subresource, true
		if question.APIVersion == "" {
			question.APIVersion = "*"
		}
	} else {
		question.Verb, question.Path = p.Verb, p.Path
	}
	decision, reason, err := a.rules.Authorize(ctx, question)
	status := authorizationv1.SubjectAccessReviewStatus{
		Allowed: decision == authorizer.DecisionAllow, Denied: decision == authorizer.DecisionDeny, Reason: reason,
	}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return status
}

func subjectOf(s *authorizationv1.SubjectAccessReviewSpec) user.Info {
	u := &user.DefaultInfo{Name: s.User, Groups: s.Groups, UID: s.UID, Extra: map[string][]string{}}
	for key, values := range s.Extra {
		u.Extra[key] = values
	}
	return u
}

func validateSpec(s *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := oneQuestion(s.ResourceAttributes, s.NonResourceAttributes)
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), s.User, "at least one of user or group must be specified"))
	}
	return errs
}

func oneQuestion(r *authorizationv1.ResourceAttributes, p *authorizationv1.NonResourceAttributes) field.ErrorList {
	if (r == nil) == (p == nil) {
		return field.ErrorList{field.Invalid(field.NewPath("spec"), p,
			"exactly one of nonResourceAttributes or resourceAttributes must be specified")}
	}
	return nil
}

func noMetadata(m metav1.ObjectMeta, detail string) field.ErrorList {
	m.ManagedFields = nil
	if apiequality.Semantic.DeepEqual(m, metav1.ObjectMeta{}) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), m, detail)}
}

func invalid(kind string, errs field.ErrorList) error {
	return apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind(kind).GroupKind(), "", errs)
}
