package apiserver_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func classed(name string, set func(*corev1.PodSpec)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "busybox"}}}}
	set(&p.Spec)
	return p
}

func wants(t *testing.T, err error, text string) {
	t.Helper()
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), text) {
		t.Errorf("got  %v\nwant %s", err, text)
	}
}

func TestPriorityClasses(t *testing.T) {
	i := start(t)
	pods, classes := i.client.CoreV1().Pods("default"), i.client.SchedulingV1().PriorityClasses()
	for name, value := range map[string]int32{"system-cluster-critical": 2000000000, "system-node-critical": 2000001000} {
		if c, err := classes.Get(t.Context(), name, metav1.GetOptions{}); err != nil || c.Value != value {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	make := func(name string, value int32, more func(*schedulingv1.PriorityClass)) error {
		c := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value}
		more(c)
		_, err := classes.Create(t.Context(), c, metav1.CreateOptions{})
		return err
	}
	plain := func(*schedulingv1.PriorityClass) {}
	isDefault := func(c *schedulingv1.PriorityClass) { c.GlobalDefault = true }
	if err := make("high", 1000, func(c *schedulingv1.PriorityClass) { c.PreemptionPolicy = ptr.To(corev1.PreemptNever) }); err != nil {
		t.Fatal(err)
	}
	if err := make("too-high", 1000000001, plain); err == nil || !strings.Contains(err.Error(), "value: Forbidden: maximum allowed value of a user defined priority is 1000000000") {
		t.Error(err)
	}
	if err := make("system-mine", 1, plain); err == nil || !strings.Contains(err.Error(), "reserved for system use only. error: system-mine is not a known system priority class") {
		t.Error(err)
	}
	// The class is known at once, whatever the informer has seen.
	p, err := pods.Create(t.Context(), classed("high", func(s *corev1.PodSpec) { s.PriorityClassName = "high" }), metav1.CreateOptions{})
	if err != nil || *p.Spec.Priority != 1000 || *p.Spec.PreemptionPolicy != corev1.PreemptNever {
		t.Fatalf("%+v, %v", p, err)
	}
	_, err = pods.Create(t.Context(), classed("none", func(s *corev1.PodSpec) { s.PriorityClassName = "none" }), metav1.CreateOptions{})
	wants(t, err, `pods "none" is forbidden: no PriorityClass with name none was found`)
	_, err = pods.Create(t.Context(), classed("own", func(s *corev1.PodSpec) { s.Priority = ptr.To[int32](7) }), metav1.CreateOptions{})
	wants(t, err, "the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name")
	_, err = pods.Create(t.Context(), classed("own", func(s *corev1.PodSpec) { s.PreemptionPolicy = ptr.To(corev1.PreemptNever) }), metav1.CreateOptions{})
	wants(t, err, "the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission controller computed PreemptLowerPriority")

	if err := make("usual", 5, isDefault); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		p, err := pods.Create(t.Context(), classed("usual", func(*corev1.PodSpec) {}), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			t.Fatal(err)
		}
		if p.Spec.PriorityClassName == "usual" && *p.Spec.Priority == 5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", p.Spec)
		}
	}
	wants(t, make("second", 6, isDefault), "PriorityClass usual is already marked as default. Only one default can exist")
	c, err := classes.Get(t.Context(), "usual", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.Value = 9
	if _, err := classes.Update(t.Context(), c, metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), "value: Forbidden: may not be changed in an update.") {
		t.Error(err)
	}
}

func TestRuntimeClasses(t *testing.T) {
	i := start(t)
	pods, classes := i.client.CoreV1().Pods("default"), i.client.NodeV1().RuntimeClasses()
	make := func(name string, more func(*nodev1.RuntimeClass)) error {
		c := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: "h"}
		more(c)
		_, err := classes.Create(t.Context(), c, metav1.CreateOptions{})
		return err
	}
	for want, change := range map[string]func(*nodev1.RuntimeClass){
		"handler: Required value":    func(c *nodev1.RuntimeClass) { c.Handler = "" },
		"a lowercase RFC 1123 label": func(c *nodev1.RuntimeClass) { c.Handler = "A.B" },
		"overhead.limits[cpu]": func(c *nodev1.RuntimeClass) {
			c.Overhead = &nodev1.Overhead{PodFixed: corev1.ResourceList{"cpu": resource.MustParse("-1")}}
		},
		"scheduling.tolerations[1]: Duplicate value": func(c *nodev1.RuntimeClass) {
			same := corev1.Toleration{Key: "k", Operator: corev1.TolerationOpExists}
			c.Scheduling = &nodev1.Scheduling{Tolerations: []corev1.Toleration{same, same}}
		},
	} {
		if err := make("bad", change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := make("good", func(*nodev1.RuntimeClass) {}); err != nil {
		t.Fatal(err)
	}
	_, err := pods.Create(t.Context(), classed("none", func(s *corev1.PodSpec) { s.RuntimeClassName = ptr.To("none") }), metav1.CreateOptions{})
	wants(t, err, `pods "none" is forbidden: pod rejected: RuntimeClass "none" not found`)
	_, err = pods.Create(t.Context(), classed("own", func(s *corev1.PodSpec) {
		s.Overhead = corev1.ResourceList{"cpu": resource.MustParse("1")}
	}), metav1.CreateOptions{})
	wants(t, err, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
	if err := make("full", func(c *nodev1.RuntimeClass) {
		c.Overhead = &nodev1.Overhead{PodFixed: corev1.ResourceList{"cpu": resource.MustParse("1")}}
		c.Scheduling = &nodev1.Scheduling{NodeSelector: map[string]string{"a": "b"}, Tolerations: []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}}}
	}); err != nil {
		t.Fatal(err)
	}
	named := func(s *corev1.PodSpec) { s.RuntimeClassName = ptr.To("full") }
	p, err := pods.Create(t.Context(), classed("full", named), metav1.CreateOptions{})
	if err != nil || p.Spec.Overhead.Cpu().String() != "1" || p.Spec.NodeSelector["a"] != "b" || p.Spec.Tolerations[0].Key != "k" {
		t.Errorf("%+v, %v", p.Spec, err)
	}
	_, err = pods.Create(t.Context(), classed("more", func(s *corev1.PodSpec) {
		named(s)
		s.Overhead = corev1.ResourceList{"cpu": resource.MustParse("2")}
	}), metav1.CreateOptions{})
	wants(t, err, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
	_, err = pods.Create(t.Context(), classed("away", func(s *corev1.PodSpec) {
		named(s)
		s.NodeSelector = map[string]string{"a": "c"}
	}), metav1.CreateOptions{})
	wants(t, err, "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = c")
}
