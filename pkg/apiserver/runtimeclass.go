package apiserver

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	nodelisters "k8s.io/client-go/listers/node/v1"
)

// What pods are told whose overhead is not that of their class.
var (
	errOverheadDiffers = errors.New("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
	errOverheadAlone   = errors.New("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
)

// runtimeClasses gives new pods the overhead and the scheduling of the runtime
// class they name.
type runtimeClasses struct {
	*admission.Handler
	client kubernetes.Interface
	known  nodelisters.RuntimeClassLister
}

var (
	_ admission.MutationInterface   = (*runtimeClasses)(nil)
	_ admission.ValidationInterface = (*runtimeClasses)(nil)
)

func newRuntimeClasses(client kubernetes.Interface, shared informers.SharedInformerFactory) *runtimeClasses {
	classes := shared.Node().V1().RuntimeClasses()
	classes.Informer()
	return &runtimeClasses{admission.NewHandler(admission.Create), client, classes.Lister()}
}

// Admit implements admission.MutationInterface.
func (r *runtimeClasses) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, class, err := r.of(ctx, a)
	if err != nil || class == nil {
		return err
	}
	if err := classify(&pod.Spec, class); err != nil {
		return admission.NewForbidden(a, err)
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (r *runtimeClasses) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, class, err := r.of(ctx, a)
	if err != nil || pod == nil {
		return err
	}
	switch {
	case class == nil || class.Overhead == nil:
		if pod.Spec.Overhead != nil {
			return admission.NewForbidden(a, errOverheadAlone)
		}
	case !apiequality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead):
		return admission.NewForbidden(a, errOverheadDiffers)
	}
	return nil
}

// of returns the pod that is asked about and its class, nil if it names none. A
// class that the informer does not know yet is asked for.
func (r *runtimeClasses) of(ctx context.Context, a admission.Attributes) (*corev1.Pod, *nodev1.RuntimeClass, error) {
	if a.GetSubresource() != "" || a.GetResource().GroupResource() != corev1.Resource("pods") {
		return nil, nil, nil
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok {
		return nil, nil, apierrors.NewBadRequest("resource was marked with kind Pod but was unable to be converted")
	}
	name := pod.Spec.RuntimeClassName
	if name == nil {
		return pod, nil, nil
	}
	class, err := r.known.Get(*name)
	if apierrors.IsNotFound(err) {
		class, err = r.client.NodeV1().RuntimeClasses().Get(ctx, *name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		return nil, nil, admission.NewForbidden(a, fmt.Errorf("pod rejected: RuntimeClass %q not found", *name)) //nolint:err113 // Kubernetes' text
	}
	return pod, class, err
}

// classify merges what the class says into the pod.
func classify(s *corev1.PodSpec, class *nodev1.RuntimeClass) error {
	if o := class.Overhead; o != nil {
		if len(s.Overhead) > 0 && !apiequality.Semantic.DeepEqual(o.PodFixed, s.Overhead) {
			return errOverheadDiffers
		}
		s.Overhead = o.PodFixed.DeepCopy()
	}
	if class.Scheduling == nil {
		return nil
	}
	for key, value := range class.Scheduling.NodeSelector {
		if has, ok := s.NodeSelector[key]; ok && has != value {
			return fmt.Errorf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, value, key, has) //nolint:err113 // Kubernetes' text
		}
		if s.NodeSelector == nil {
			s.NodeSelector = map[string]string{}
		}
		s.NodeSelector[key] = value
	}
	s.Tolerations = mergeTolerations(s.Tolerations, class.Scheduling.Tolerations)
	return nil
}

// mergeTolerations joins the lists, without what another toleration covers.
func mergeTolerations(lists ...[]corev1.Toleration) []corev1.Toleration {
	var all, merged []corev1.Toleration
	for _, l := range lists {
		all = append(all, l...)
	}
	for i := range all {
		covered := false
		for j := range merged {
			covered = covered || covers(&merged[j], &all[i])
		}
		for j := i + 1; j < len(all); j++ {
			// Of two equal ones the first stays.
			covered = covered || !apiequality.Semantic.DeepEqual(all[i], all[j]) && covers(&all[j], &all[i])
		}
		if !covered {
			merged = append(merged, *all[i].DeepCopy())
		}
	}
	return merged
}

// covers says whether wide tolerates all that t does.
func covers(wide, t *corev1.Toleration) bool {
	if apiequality.Semantic.DeepEqual(wide, t) {
		return true
	}
	every := wide.Key == "" && wide.Operator == corev1.TolerationOpExists
	if t.Key != wide.Key && !every || t.Effect != wide.Effect && wide.Effect != "" {
		return false
	}
	if s := wide.TolerationSeconds; wide.Effect == corev1.TaintEffectNoExecute && s != nil &&
		(t.TolerationSeconds == nil || *t.TolerationSeconds > *s) {
		return false
	}
	switch wide.Operator {
	case corev1.TolerationOpExists:
		return true
	case corev1.TolerationOpEqual, "":
		return (t.Operator == corev1.TolerationOpEqual || t.Operator == "") && t.Value == wide.Value
	default:
		return false
	}
}
