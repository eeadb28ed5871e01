package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// What a container that asks for nothing counts as when nodes are compared, so
// that pods without requests spread too. It never makes a pod not fit.
const (
	assumedMilliCPU = 100
	assumedMemory   = 200 << 20
)

// amounts is a quantity of everything that a node has to give.
type amounts struct {
	milliCPU int64
	memory   int64
	storage  int64
	// other holds extended resources and huge pages; nil where there are
	// none.
	other map[corev1.ResourceName]int64
}

// amountsOf reads a resource list. The pods resource is not part of it.
func amountsOf(list corev1.ResourceList) amounts {
	var a amounts
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			a.milliCPU = q.MilliValue()
		case corev1.ResourceMemory:
			a.memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			a.storage = q.Value()
		case corev1.ResourcePods:
		default:
			if a.other == nil {
				a.other = map[corev1.ResourceName]int64{}
			}
			a.other[name] = q.Value()
		}
	}
	return a
}

// less says whether a is less than b in anything.
func (a amounts) less(b amounts) bool {
	for name, n := range b.other {
		if a.other[name] < n {
			return true
		}
	}
	return a.milliCPU < b.milliCPU || a.memory < b.memory || a.storage < b.storage
}

// add adds b, times sign.
func (a *amounts) add(b amounts, sign int64) {
	a.milliCPU += sign * b.milliCPU
	a.memory += sign * b.memory
	a.storage += sign * b.storage
	for name, n := range b.other {
		if a.other == nil {
			a.other = map[corev1.ResourceName]int64{}
		}
		if a.other[name] += sign * n; a.other[name] == 0 {
			delete(a.other, name)
		}
	}
}

// demand is what one pod takes from the node it runs on.
type demand struct {
	// requests are what has to fit.
	requests amounts
	// weightCPU (in thousandths) and weightMemory (in bytes) are what the
	// comparison of nodes counts.
	weightCPU, weightMemory int64
	ports                   []hostPort
}

func demandOf(p *corev1.Pod) demand {
	// While a pod is resized it takes the larger of what it asks for, what it is
	// granted and what it has.
	weights := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{
		UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true,
		NonMissingContainerRequests: corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewMilliQuantity(assumedMilliCPU, resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(assumedMemory, resource.BinarySI),
		},
	})
	return demand{
		requests:     amountsOf(resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true})),
		weightCPU:    weights.Cpu().MilliValue(),
		weightMemory: weights.Memory().Value(),
		ports:        hostPortsOf(p),
	}
}
