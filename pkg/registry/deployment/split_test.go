package deployment

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind/kindtest"
)

func TestStatusIsApart(t *testing.T) {
	kindtest.StatusIsApart(t, Kind(), statusRules(), kindtest.Split[*appsv1.Deployment]{
		Good: func() *appsv1.Deployment {
			labels := map[string]string{"app": "web"}
			template := corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "i"}}},
			}
			o := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}}
			o.Spec.Selector, o.Spec.Template = &metav1.LabelSelector{MatchLabels: labels}, template
			SetDefaults(o)
			return o
		},
		Spec:   func(o *appsv1.Deployment) { o.Spec.Replicas = ptr.To[int32](7) },
		Status: func(o *appsv1.Deployment) { o.Status.Replicas, o.Status.ReadyReplicas = 3, 2 },
		Parts:  func(o *appsv1.Deployment) (spec, status any) { return o.Spec, o.Status },
	})
}
