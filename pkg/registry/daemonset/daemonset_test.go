package daemonset

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func made(change func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
	d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: "n"}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "d"}}
	d.Spec.Template.Labels = map[string]string{"app": "d"}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	if change != nil {
		change(d)
	}
	SetDefaults(d)
	mainRules().Prepare(d)
	return d
}

func TestDefaults(t *testing.T) {
	d := made(nil)
	u := d.Spec.UpdateStrategy
	if u.Type != appsv1.RollingUpdateDaemonSetStrategyType || u.RollingUpdate.MaxUnavailable.IntValue() != 1 || u.RollingUpdate.MaxSurge.IntValue() != 0 ||
		*d.Spec.RevisionHistoryLimit != 10 || d.Generation != 1 || d.Annotations[appsv1.DeprecatedTemplateGeneration] != "1" {
		t.Errorf("%+v", d)
	}
}

func TestWhatIsRefused(t *testing.T) {
	rolling := func(unavailable, surge string) func(*appsv1.DaemonSet) {
		return func(d *appsv1.DaemonSet) {
			d.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{
				MaxUnavailable: ptr.To(intstr.Parse(unavailable)), MaxSurge: ptr.To(intstr.Parse(surge)),
			}
		}
	}
	for _, c := range []struct {
		change func(*appsv1.DaemonSet)
		want   string
	}{
		{nil, ""},
		{rolling("0", "10%"), ""},
		{rolling("1", "1"), "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"},
		{rolling("0", "0%"), "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"},
		{rolling("101%", "0"), "must not be greater than 100%"},
		{func(d *appsv1.DaemonSet) { d.Spec.UpdateStrategy.Type = "Now" }, `spec.updateStrategy: Unsupported value: {"Type":"Now","RollingUpdate":null}: supported values: "RollingUpdate", "OnDelete"`},
		{func(d *appsv1.DaemonSet) { d.Spec.Selector = &metav1.LabelSelector{} }, "empty selector is invalid for daemonset"},
		{func(d *appsv1.DaemonSet) { d.Spec.Template.Labels = nil }, "`selector` does not match template `labels`"},
		{func(d *appsv1.DaemonSet) { d.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever }, `spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`},
		{func(d *appsv1.DaemonSet) { d.Spec.Template.Spec.ActiveDeadlineSeconds = ptr.To[int64](1) }, "activeDeadlineSeconds in DaemonSet is not Supported"},
		{func(d *appsv1.DaemonSet) { d.Spec.MinReadySeconds = -1 }, "spec.minReadySeconds: Invalid value: -1"},
	} {
		var got []string
		for _, e := range Validate(made(c.change)) {
			got = append(got, e.Error())
		}
		if all := strings.Join(got, "; "); c.want == "" && all != "" || !strings.Contains(all, c.want) {
			t.Errorf("got %s\nwant %s", all, c.want)
		}
	}
}

func TestUpdates(t *testing.T) {
	old := made(nil)
	now := made(func(d *appsv1.DaemonSet) { d.Spec.Template.Spec.Containers[0].Image = "j" })
	now.Annotations = nil
	mainRules().PrepareUpdate(now, old)
	if now.Generation != 2 || now.Annotations[appsv1.DeprecatedTemplateGeneration] != "2" {
		t.Errorf("%+v", now.ObjectMeta)
	}
	other := made(func(d *appsv1.DaemonSet) { d.Spec.MinReadySeconds = 5 })
	mainRules().PrepareUpdate(other, now)
	mainRules().PrepareUpdate(other, old)
	if other.Generation != 2 || other.Annotations[appsv1.DeprecatedTemplateGeneration] != "1" {
		t.Errorf("%+v", other.ObjectMeta)
	}
	other.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "e"}}
	if errs := mainRules().ValidateUpdate(t.Context(), other, old); len(errs) == 0 || !strings.Contains(errs[0].Error(), "spec.selector: Invalid value:") || !strings.Contains(errs[0].Error(), "field is immutable") {
		t.Errorf("%v", errs)
	}
	now.Status = appsv1.DaemonSetStatus{NumberReady: -1}
	old.Status.CollisionCount = ptr.To[int32](1)
	if errs := statusRules().ValidateUpdate(t.Context(), now, old); len(errs) != 2 {
		t.Errorf("%v", errs)
	}
	if row := Kind().Row(now); len(row) != len(Kind().Columns) || row[3] != int64(-1) || row[10] != "app=d" {
		t.Errorf("%v", row)
	}
}
