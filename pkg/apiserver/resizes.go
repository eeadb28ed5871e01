package apiserver

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// causeNodeCapacity is the cause of such a refusal, as Kubernetes names it.
const causeNodeCapacity metav1.CauseType = "NodeCapacity"

// resizes refuse what a pod's node could never grant. What it only has not got
// now is the agent's to put off.
type resizes struct {
	*admission.Handler
	nodes corelisters.NodeLister
}

var _ admission.ValidationInterface = (*resizes)(nil)

func newResizes(shared informers.SharedInformerFactory) *resizes {
	nodes := shared.Core().V1().Nodes()
	r := &resizes{admission.NewHandler(admission.Update), nodes.Lister()}
	r.SetReadyFunc(nodes.Informer().HasSynced)
	return r
}

// Validate implements admission.ValidationInterface.
func (r *resizes) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != corev1.Resource("pods") || a.GetSubresource() != "resize" {
		return nil
	}
	p, ok := a.GetObject().(*corev1.Pod)
	was, wasOK := a.GetOldObject().(*corev1.Pod)
	if !ok || !wasOK {
		return apierrors.NewBadRequest("resource was marked with kind Pod but was unable to be converted")
	}
	if p.Spec.NodeName == "" || p.Generation == was.Generation {
		return nil
	}
	if !r.WaitForReady() {
		return admission.NewForbidden(a, errors.New("not yet ready to handle request"))
	}
	node, err := r.nodes.Get(p.Spec.NodeName)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("node %q: %w", p.Spec.NodeName, err))
	}
	over := beyond(p, node.Status.Allocatable)
	if over == "" {
		return nil
	}
	refusal := admission.NewForbidden(a, fmt.Errorf("node didn't have enough allocatable resources: %s", over))
	if status := (*apierrors.StatusError)(nil); errors.As(refusal, &status) && status.ErrStatus.Details != nil {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Type: causeNodeCapacity})
	}
	return refusal
}

// beyond says what of its requests no node with that much could ever give the
// pod; "" where there is nothing.
func beyond(p *corev1.Pod, allocatable corev1.ResourceList) string {
	asked := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
	var over []string
	for _, x := range []struct {
		name corev1.ResourceName
		unit func(*resource.Quantity) int64
	}{
		{corev1.ResourceCPU, (*resource.Quantity).MilliValue},
		{corev1.ResourceMemory, (*resource.Quantity).Value},
	} {
		want, has := asked[x.name], allocatable[x.name]
		if want.Cmp(has) > 0 {
			over = append(over, fmt.Sprintf("%s, requested: %d, allocatable: %d", x.name, x.unit(&want), x.unit(&has)))
		}
	}
	return strings.Join(over, "; ")
}
