package apiserver

import (
	"context"
	"errors"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	podsecurity "k8s.io/pod-security-admission/admission"
	"k8s.io/pod-security-admission/admission/api/load"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"
)

// podSecurity holds pods to the Pod Security Standard that the labels of their
// namespace name; a namespace without such labels takes every pod.
type podSecurity struct {
	*admission.Handler
	standard *podsecurity.Admission
}

var _ admission.ValidationInterface = (*podSecurity)(nil)

// newPodSecurity returns the admission plugin. A namespace that the informer
// does not know yet is asked for.
func newPodSecurity(client kubernetes.Interface, shared informers.SharedInformerFactory) (*podSecurity, error) {
	config, err := load.LoadFromData(nil)
	if err != nil {
		return nil, err
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, err
	}
	standard := &podsecurity.Admission{
		Configuration:   config,
		Evaluator:       evaluator,
		Metrics:         uncounted{},
		NamespaceGetter: podsecurity.NamespaceGetterFromListerAndClient(shared.Core().V1().Namespaces().Lister(), client),
		PodLister:       podsecurity.PodListerFromClient(client),
	}
	if err := standard.CompleteConfiguration(); err != nil {
		return nil, err
	}
	return &podSecurity{admission.NewHandler(admission.Create, admission.Update), standard}, standard.ValidateConfiguration()
}

// Validate refuses, warns and annotates the audit event, as the namespace asks.
func (p *podSecurity) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	resource := a.GetResource().GroupResource()
	if resource != corev1.Resource("namespaces") && !p.standard.PodSpecExtractor.HasPodSpec(resource) {
		return nil
	}
	answer := p.standard.Validate(ctx, plainAttributes{a})
	for _, text := range answer.Warnings {
		warning.AddWarning(ctx, "", text)
	}
	notes := make(map[string]string, len(answer.AuditAnnotations))
	for key, value := range answer.AuditAnnotations {
		notes[api.AuditAnnotationPrefix+key] = value
	}
	if len(notes) > 0 {
		audit.AddAuditAnnotationsMap(ctx, notes)
	}
	if answer.Allowed {
		return nil
	}
	if answer.Result == nil || answer.Result.Message == "" {
		return admission.NewForbidden(a, errors.New("not allowed by PodSecurity"))
	}
	return &apierrors.StatusError{ErrStatus: *answer.Result}
}

// plainAttributes are those of a request in the form that the standard wants.
// Objects are of the v1 types already.
type plainAttributes struct{ admission.Attributes }

var _ api.Attributes = plainAttributes{}

// GetOperation implements api.Attributes.
func (a plainAttributes) GetOperation() admissionv1.Operation {
	return admissionv1.Operation(a.Attributes.GetOperation())
}

// GetObject implements api.Attributes.
func (a plainAttributes) GetObject() (runtime.Object, error) { return a.Attributes.GetObject(), nil }

// GetOldObject implements api.Attributes.
func (a plainAttributes) GetOldObject() (runtime.Object, error) {
	return a.Attributes.GetOldObject(), nil
}

// GetUserName implements api.Attributes.
func (a plainAttributes) GetUserName() string {
	if a.GetUserInfo() == nil {
		return ""
	}
	return a.GetUserInfo().GetName()
}

// uncounted drops what the standard would count: its metrics are one set a
// process, and there may be several servers.
type uncounted struct{}

// RecordEvaluation implements metrics.Recorder.
func (uncounted) RecordEvaluation(metrics.Decision, api.LevelVersion, metrics.Mode, api.Attributes) {}

// RecordExemption implements metrics.Recorder.
func (uncounted) RecordExemption(api.Attributes) {}

// RecordError implements metrics.Recorder.
func (uncounted) RecordError(bool, api.Attributes) {}
