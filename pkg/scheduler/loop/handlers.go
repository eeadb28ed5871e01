package loop

import (
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/carob-project/carob/pkg/scheduler"
)

func (s *Scheduler) nodeHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.setNode(obj) },
		UpdateFunc: func(_, obj any) { s.setNode(obj) },
		DeleteFunc: func(obj any) {
			if n, ok := last(obj).(*corev1.Node); ok {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.snapshot.RemoveNode(n.Name)
			}
		},
	}
}

func (s *Scheduler) setNode(obj any) {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshot.SetNode(n) {
		s.nodesChanged = true
		s.signal()
	}
}

// budgetHandler: what budgets allow is looked at when pods are to go, and lets
// no pod in that waits.
func (s *Scheduler) budgetHandler() cache.ResourceEventHandler {
	set := func(obj any) {
		if b, ok := obj.(*policyv1.PodDisruptionBudget); ok {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.snapshot.SetBudget(b)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, obj any) { set(obj) },
		DeleteFunc: func(obj any) {
			if b, ok := last(obj).(*policyv1.PodDisruptionBudget); ok {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.snapshot.RemoveBudget(b.Namespace, b.Name)
			}
		},
	}
}

func (s *Scheduler) namespaceHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.setNamespace(obj) },
		UpdateFunc: func(_, obj any) { s.setNamespace(obj) },
		DeleteFunc: func(obj any) {
			if n, ok := last(obj).(*corev1.Namespace); ok {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.snapshot.RemoveNamespace(n.Name)
			}
		},
	}
}

func (s *Scheduler) setNamespace(obj any) {
	n, ok := obj.(*corev1.Namespace)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshot.SetNamespace(n.Name, n.Labels) {
		s.moved = true
		s.signal()
	}
}

func (s *Scheduler) podHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { s.setPod(obj) },
		UpdateFunc: func(old, obj any) {
			// After a gap in the watch another pod may have taken the name.
			if p, ok := old.(*corev1.Pod); ok && p.UID != uidOf(obj) {
				s.removePod(p)
			}
			s.setPod(obj)
		},
		DeleteFunc: func(obj any) { s.removePod(last(obj)) },
	}
}

func uidOf(obj any) types.UID {
	if p, ok := obj.(*corev1.Pod); ok {
		return p.UID
	}
	return ""
}

func (s *Scheduler) removePod(obj any) {
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue.remove(p.UID)
	s.release(p)
}

func (s *Scheduler) setPod(obj any) {
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case terminal(p):
		s.queue.remove(p.UID)
		s.release(p)
	case p.Spec.NodeName != "":
		s.queue.remove(p.UID)
		delete(s.assumed, p.UID)
		delete(s.nominated, p.UID)
		moved, freed := s.snapshot.SetPod(p, p.Spec.NodeName)
		if freed { // it was resized
			s.freed[p.Spec.NodeName] = struct{}{}
		}
		if s.moved = s.moved || moved; moved || freed {
			s.signal()
		}
	case !wanted(p):
		s.queue.remove(p.UID)
		delete(s.nominated, p.UID)
	default:
		// A pod that was bound leaves the queue; an older version of it
		// may still arrive and must not bring it back.
		if _, bound := s.assumed[p.UID]; bound && s.queue.items[p.UID] == nil {
			return
		}
		if node := p.Status.NominatedNodeName; node != "" && s.queue.items[p.UID] == nil {
			s.nominated[p.UID] = nominee{p, scheduler.Nomination{Node: node}}
		}
		s.queue.set(p)
		s.signal()
	}
}

// release stops counting the pod against its node. The caller holds the lock.
func (s *Scheduler) release(p *corev1.Pod) {
	delete(s.assumed, p.UID)
	delete(s.nominated, p.UID)
	if node, found := s.snapshot.RemovePod(p.UID); found {
		s.freed[node] = struct{}{}
		s.signal()
	}
}

// wanted reports whether a pod without a node is this scheduler's to place.
func wanted(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && len(p.Spec.SchedulingGates) == 0 &&
		(p.Spec.SchedulerName == Name || p.Spec.SchedulerName == "")
}

func terminal(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// last returns the object of a delete notification, also of one whose exact
// moment the informer has missed.
func last(obj any) any {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		return gone.Obj
	}
	return obj
}
