package daemonset

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	schedulinghelpers "k8s.io/component-helpers/scheduling/corev1"
)

// place says on which nodes the pods of a set belong.
type place struct {
	node        string
	tolerations []corev1.Toleration
	affinity    nodeaffinity.RequiredNodeAffinity
}

func placeOf(set *appsv1.DaemonSet) place {
	spec := set.Spec.Template.Spec.DeepCopy()
	tolerate(spec)
	return place{
		node: spec.NodeName, tolerations: spec.Tolerations,
		affinity: nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{Spec: *spec}),
	}
}

// suits tells whether a pod should be on the node, and whether one that is
// there may stay.
func (p place) suits(node *corev1.Node) (run, stay bool) {
	if p.node != "" && p.node != node.Name {
		return false, false
	}
	if ok, err := p.affinity.Match(node); err != nil || !ok {
		return false, false
	}
	run = !p.repelled(node, corev1.TaintEffectNoExecute, corev1.TaintEffectNoSchedule)
	return run, run || !p.repelled(node, corev1.TaintEffectNoExecute)
}

func (p place) repelled(node *corev1.Node, effects ...corev1.TaintEffect) bool {
	_, found := schedulinghelpers.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, p.tolerations,
		func(t *corev1.Taint) bool { return slices.Contains(effects, t.Effect) }, true)
	return found
}

// tolerate adds the tolerations that the pods of every set have: a node in
// trouble keeps them and gets them.
func tolerate(s *corev1.PodSpec) {
	noSchedule := []string{
		corev1.TaintNodeDiskPressure, corev1.TaintNodeMemoryPressure, corev1.TaintNodePIDPressure, corev1.TaintNodeUnschedulable,
	}
	if s.HostNetwork {
		noSchedule = append(noSchedule, corev1.TaintNodeNetworkUnavailable)
	}
	add := func(effect corev1.TaintEffect, keys ...string) {
		for _, key := range keys {
			t := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect}
			if !slices.ContainsFunc(s.Tolerations, func(o corev1.Toleration) bool { return o.MatchToleration(&t) }) {
				s.Tolerations = append(s.Tolerations, t)
			}
		}
	}
	add(corev1.TaintEffectNoExecute, corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable)
	add(corev1.TaintEffectNoSchedule, noSchedule...)
}

// newPod is the pod of a set on a node, which the scheduler puts there.
func newPod(set *appsv1.DaemonSet, node, hash string) *corev1.Pod {
	t := set.Spec.Template.DeepCopy()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: set.Name + "-", Namespace: set.Namespace, Labels: t.Labels, Annotations: t.Annotations, Finalizers: t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, controllerKind())},
		},
		Spec: t.Spec,
	}
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[hashLabel] = hash
	p.Labels[generationLabel] = generationOf(set)
	tolerate(&p.Spec)
	p.Spec.Affinity = pinned(p.Spec.Affinity, node)
	return p
}

// pinned lets the node alone be chosen; the rest of the required affinity has
// been looked at when the node was.
func pinned(a *corev1.Affinity, node string) *corev1.Affinity {
	if a == nil {
		a = &corev1.Affinity{}
	}
	if a.NodeAffinity == nil {
		a.NodeAffinity = &corev1.NodeAffinity{}
	}
	a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
	}}}
	return a
}

// nodeOf is the node that a pod is on, or is to be put on.
func nodeOf(p *corev1.Pod) string {
	if p.Spec.NodeName != "" || p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil {
		return p.Spec.NodeName
	}
	required := p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return ""
	}
	for _, term := range required.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == metav1.ObjectNameField && f.Operator == corev1.NodeSelectorOpIn && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}
