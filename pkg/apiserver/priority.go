package apiserver

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	schedulinglisters "k8s.io/client-go/listers/scheduling/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/priorityclass"
	"github.com/carob-project/carob/pkg/registry/storageclass"
)

// classesHook is this hook's name in /readyz: the server is ready when the
// priority classes of the system and the class local are there.
const classesHook = "carob/system-priority-classes"

const classRetry = 20 * time.Millisecond

// makeClasses tries until all of them exist.
func makeClasses(client kubernetes.Interface) genericapiserver.PostStartHookFunc {
	return func(hook genericapiserver.PostStartHookContext) error {
		return wait.PollUntilContextCancel(hook, classRetry, true, func(ctx context.Context) (bool, error) {
			for _, c := range priorityclass.System() {
				_, err := client.SchedulingV1().PriorityClasses().Create(ctx, c, metav1.CreateOptions{})
				if err != nil && !apierrors.IsAlreadyExists(err) {
					return false, nil
				}
			}
			_, err := client.StorageV1().StorageClasses().Create(ctx, storageclass.System(), metav1.CreateOptions{})
			return err == nil || apierrors.IsAlreadyExists(err), nil
		})
	}
}

// priorities gives new pods the priority of their class, and lets only one
// class be the default.
type priorities struct {
	*admission.Handler
	client kubernetes.Interface
	known  schedulinglisters.PriorityClassLister
}

var (
	_ admission.MutationInterface   = (*priorities)(nil)
	_ admission.ValidationInterface = (*priorities)(nil)
)

func newPriorities(client kubernetes.Interface, shared informers.SharedInformerFactory) *priorities {
	classes := shared.Scheduling().V1().PriorityClasses()
	classes.Informer()
	return &priorities{admission.NewHandler(admission.Create, admission.Update), client, classes.Lister()}
}

// Admit implements admission.MutationInterface.
func (p *priorities) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" || a.GetResource().GroupResource() != corev1.Resource("pods") || a.GetOperation() != admission.Create {
		return nil
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok {
		return apierrors.NewBadRequest("resource was marked with kind Pod but was unable to be converted")
	}
	class, err := p.classOf(ctx, pod.Spec.PriorityClassName)
	if apierrors.IsNotFound(err) {
		return admission.NewForbidden(a, fmt.Errorf("no PriorityClass with name %s was found", pod.Spec.PriorityClassName)) //nolint:err113 // Kubernetes' text
	}
	if err != nil {
		return fmt.Errorf("failed to resolve PriorityClass with name %s: %w", pod.Spec.PriorityClassName, err)
	}
	if err := prioritize(&pod.Spec, class); err != nil {
		return admission.NewForbidden(a, err)
	}
	return nil
}

// prioritize fills in what follows from the class. A pod may say the same
// itself, but nothing else.
func prioritize(s *corev1.PodSpec, class *schedulingv1.PriorityClass) error {
	if s.Priority != nil && *s.Priority != class.Value {
		return fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", //nolint:err113 // Kubernetes' text
			*s.Priority, class.Value)
	}
	s.PriorityClassName = class.Name
	s.Priority = ptr.To(class.Value)
	policy := class.PreemptionPolicy
	if policy == nil {
		return nil
	}
	if s.PreemptionPolicy != nil && *s.PreemptionPolicy != *policy {
		return fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", //nolint:err113 // Kubernetes' text
			*s.PreemptionPolicy, *policy)
	}
	s.PreemptionPolicy = ptr.To(*policy)
	return nil
}

// classOf returns the class of that name; without a name the default one, or,
// where there is none, one without a name for priority 0. One that the informer
// does not know yet is asked for.
func (p *priorities) classOf(ctx context.Context, name string) (*schedulingv1.PriorityClass, error) {
	if name == "" {
		class, err := p.byDefault()
		if class == nil && err == nil {
			class = &schedulingv1.PriorityClass{PreemptionPolicy: ptr.To(corev1.PreemptLowerPriority)}
		}
		return class, err
	}
	class, err := p.known.Get(name)
	if apierrors.IsNotFound(err) {
		class, err = p.client.SchedulingV1().PriorityClasses().Get(ctx, name, metav1.GetOptions{})
	}
	return class, err
}

// byDefault returns the default class, or nil. Should there be several, the one
// of the lowest value counts.
func (p *priorities) byDefault() (*schedulingv1.PriorityClass, error) {
	all, err := p.known.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	var found *schedulingv1.PriorityClass
	for _, c := range all {
		if c.GlobalDefault && (found == nil || c.Value < found.Value) {
			found = c
		}
	}
	return found, nil
}

// Validate implements admission.ValidationInterface.
func (p *priorities) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" || a.GetResource().GroupResource() != schedulingv1.Resource("priorityclasses") {
		return nil
	}
	class, ok := a.GetObject().(*schedulingv1.PriorityClass)
	if !ok {
		return apierrors.NewBadRequest("resource was marked with kind PriorityClass but was unable to be converted")
	}
	if !class.GlobalDefault {
		return nil
	}
	other, err := p.byDefault()
	if err != nil {
		return fmt.Errorf("failed to get default priority class: %w", err)
	}
	if other != nil && (a.GetOperation() == admission.Create || other.Name != class.Name) {
		return admission.NewForbidden(a, fmt.Errorf("PriorityClass %s is already marked as default. Only one default can exist", other.Name)) //nolint:err113 // Kubernetes' text
	}
	return nil
}
