package pod

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// InitAnnotation says, with true or false, whether the containers of a pod get
// an init as their first process, which reaps what others leave behind.
const InitAnnotation = "carob.dev/init"

// WantsInit says whether a pod's containers get an init; byDefault holds where
// the pod does not say.
func WantsInit(p *corev1.Pod, byDefault bool) bool {
	if value, said := p.Annotations[InitAnnotation]; said {
		want, err := strconv.ParseBool(value)
		return want && err == nil
	}
	return byDefault
}
