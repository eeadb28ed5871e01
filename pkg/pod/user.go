package pod

import corev1 "k8s.io/api/core/v1"

// CommonUser is the user that all containers of the pod are told to run as, or
// nil where one is not told or they differ.
func CommonUser(p *corev1.Pod) *int64 {
	var general *int64
	if sc := p.Spec.SecurityContext; sc != nil {
		general = sc.RunAsUser
	}
	var common *int64
	for _, sc := range securityContexts(p) {
		user := general
		if sc != nil && sc.RunAsUser != nil {
			user = sc.RunAsUser
		}
		if user == nil || common != nil && *common != *user {
			return nil
		}
		common = user
	}
	return common
}

// securityContexts are those of all containers, nil where one has none.
func securityContexts(p *corev1.Pod) []*corev1.SecurityContext {
	var all []*corev1.SecurityContext
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			all = append(all, list[i].SecurityContext)
		}
	}
	for i := range p.Spec.EphemeralContainers {
		all = append(all, p.Spec.EphemeralContainers[i].SecurityContext)
	}
	return all
}
