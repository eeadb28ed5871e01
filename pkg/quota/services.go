package quota

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

// Services is the Kind of Services.
func Services() Kind {
	r := corev1.Resource("services")
	names := []corev1.ResourceName{CountName(r), corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers}
	return Kind{
		Resource: r,
		Tracks:   func(name corev1.ResourceName) bool { return slices.Contains(names, name) },
		Usage: func(obj any, _ time.Time) corev1.ResourceList {
			s, ok := obj.(*corev1.Service)
			if !ok {
				return nil
			}
			return serviceUsage(s)
		},
	}
}

func serviceUsage(s *corev1.Service) corev1.ResourceList {
	used := ones(CountName(corev1.Resource("services")), corev1.ResourceServices)
	ports, balancers := int64(0), int64(0)
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		ports = int64(len(s.Spec.Ports))
	case corev1.ServiceTypeLoadBalancer:
		balancers = 1
		if ptr.Deref(s.Spec.AllocateLoadBalancerNodePorts, true) {
			ports = int64(len(s.Spec.Ports))
		} else {
			for _, p := range s.Spec.Ports {
				if p.NodePort != 0 {
					ports++
				}
			}
		}
	}
	used[corev1.ResourceServicesNodePorts] = *resource.NewQuantity(ports, resource.DecimalSI)
	used[corev1.ResourceServicesLoadBalancers] = *resource.NewQuantity(balancers, resource.DecimalSI)
	return used
}
