package replicationcontroller

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind/kindtest"
)

func TestStatusIsApart(t *testing.T) {
	kindtest.StatusIsApart(t, Kind(), statusRules(), kindtest.Split[*corev1.ReplicationController]{
		Good: func() *corev1.ReplicationController {
			labels := map[string]string{"app": "web"}
			template := corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "i"}}},
			}
			o := &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}}
			o.Spec.Selector, o.Spec.Template = labels, &template
			SetDefaults(o)
			return o
		},
		Spec:   func(o *corev1.ReplicationController) { o.Spec.Replicas = ptr.To[int32](7) },
		Status: func(o *corev1.ReplicationController) { o.Status.Replicas, o.Status.ReadyReplicas = 3, 2 },
		Parts:  func(o *corev1.ReplicationController) (spec, status any) { return o.Spec, o.Status },
	})
}
