package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

func amounts(of map[corev1.ResourceName]string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for name, amount := range of {
		list[name] = resource.MustParse(amount)
	}
	return list
}

func makeQuota(t *testing.T, c kubernetes.Interface, ns, name string, s corev1.ResourceQuotaSpec) {
	t.Helper()
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: s}
	if _, err := c.CoreV1().ResourceQuotas(ns).Create(t.Context(), q, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// uses says "" when the status has exactly this.
func uses(t *testing.T, c kubernetes.Interface, ns, name, want string) string {
	q, err := c.CoreV1().ResourceQuotas(ns).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	var got []string
	for _, r := range slices.Sorted(maps.Keys(q.Status.Used)) {
		used, hard := q.Status.Used[r], q.Status.Hard[r]
		got = append(got, fmt.Sprintf("%s: %s/%s", r, used.String(), hard.String()))
	}
	if is := strings.Join(got, ", "); is != want {
		return is
	}
	return ""
}

func refusedWith(t *testing.T, err error, text string) {
	t.Helper()
	if !apierrors.IsForbidden(err) || !strings.HasSuffix(err.Error(), text) {
		t.Errorf("%v\nwant %s", err, text)
	}
}

func resourceQuota(t *testing.T, c kubernetes.Interface, ns string) {
	t.Run("Concurrent", func(t *testing.T) { concurrentCreates(t, c, ns) })
	t.Run("Pods", func(t *testing.T) { quotaOfPods(t, c, "quota-pods") })
	t.Run("Claims", func(t *testing.T) { quotaOfClaims(t, c, "quota-claims") })
	t.Run("Workloads", func(t *testing.T) { quotaOfWorkloads(t, c, "quota-workloads") })
}

// Any number of creations at the same time, while others are deleted: there are
// never more objects than allowed.
func concurrentCreates(t *testing.T, c kubernetes.Interface, ns string) {
	makeQuota(t, c, ns, "few", corev1.ResourceQuotaSpec{Hard: amounts(map[corev1.ResourceName]string{"secrets": "7", "count/leases.coordination.k8s.io": "3"})})
	eventually(t, func() string { return uses(t, c, ns, "few", "count/leases.coordination.k8s.io: 0/3, secrets: 0/7") })
	secrets := c.CoreV1().Secrets(ns)
	var made, refused atomic.Int32
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			_, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("s", i)}}, metav1.CreateOptions{})
			switch {
			case err == nil:
				made.Add(1)
			case apierrors.IsForbidden(err) && strings.HasSuffix(err.Error(), "exceeded quota: few, requested: secrets=1, used: secrets=7, limited: secrets=7"):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if made.Load() != 7 || refused.Load() != 53 {
		t.Errorf("%d made, %d refused", made.Load(), refused.Load())
	}
	churn := sync.WaitGroup{}
	for i := range 6 {
		churn.Go(func() {
			for n := range 15 {
				name := fmt.Sprintf("c%d-%d", i, n)
				if _, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil && !apierrors.IsForbidden(err) {
					t.Error(err)
				}
				list, err := secrets.List(t.Context(), metav1.ListOptions{})
				if err != nil || len(list.Items) > 7 {
					t.Errorf("%d secrets, %v", len(list.Items), err)
				} else if len(list.Items) > 0 {
					if err := secrets.Delete(t.Context(), list.Items[n%len(list.Items)].Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
						t.Error(err)
					}
				}
			}
		})
	}
	churn.Wait()
	if err := secrets.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string { return uses(t, c, ns, "few", "count/leases.coordination.k8s.io: 0/3, secrets: 0/7") })
	quiet(t, func() string {
		q, err := c.CoreV1().ResourceQuotas(ns).Get(t.Context(), "few", metav1.GetOptions{})
		return fmt.Sprint(q.ResourceVersion, err)
	})
}

func quotaOfPods(t *testing.T, c kubernetes.Interface, ns string) {
	makeNamespace(t, c, ns)
	agent(t, c, ns)
	makeQuota(t, c, ns, "q", corev1.ResourceQuotaSpec{Hard: amounts(map[corev1.ResourceName]string{"requests.cpu": "1", "limits.memory": "1Gi", "pods": "2"})})
	makeQuota(t, c, ns, "high", corev1.ResourceQuotaSpec{
		Hard: amounts(map[corev1.ResourceName]string{"pods": "0"}),
		ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
			{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"system-node-critical"}},
		}},
	})
	eventually(t, func() string { return uses(t, c, ns, "q", "limits.memory: 0/1Gi, pods: 0/2, requests.cpu: 0/1") })
	eventually(t, func() string { return uses(t, c, ns, "high", "pods: 0/0") })
	create := func(name, cpu, memory, priority string) error {
		p := podFor("node", ns, name, cpu)
		p.Spec.PriorityClassName = priority
		if memory != "" {
			p.Spec.Containers[0].Resources.Limits = amounts(map[corev1.ResourceName]string{"memory": memory})
		}
		_, err := c.CoreV1().Pods(ns).Create(t.Context(), p, metav1.CreateOptions{})
		return err
	}
	// The API server hears of the numbers a moment after this test does.
	eventually(t, func() string {
		if err := create("first", "600m", "512Mi", ""); err != nil {
			return err.Error()
		}
		return ""
	})
	refusedWith(t, create("a", "600m", "", ""), "failed quota: q: must specify limits.memory for: c")
	refusedWith(t, create("a", "600m", "1Gi", ""), "exceeded quota: q, requested: limits.memory=1Gi,requests.cpu=600m, used: limits.memory=512Mi,requests.cpu=600m, limited: limits.memory=1Gi,requests.cpu=1")
	refusedWith(t, create("a", "1m", "1Mi", "system-node-critical"), "exceeded quota: high, requested: pods=1, used: pods=0, limited: pods=0")
	if msg := uses(t, c, ns, "q", "limits.memory: 512Mi/1Gi, pods: 1/2, requests.cpu: 600m/1"); msg != "" {
		t.Error(msg)
	}
	// A resize is charged for too. One that meets another write is tried, and
	// charged for, twice: so nothing else happens now.
	eventually(t, func() string {
		p, err := c.CoreV1().Pods(ns).Get(t.Context(), "first", metav1.GetOptions{})
		if err != nil || p.Status.Phase != corev1.PodRunning {
			return fmt.Sprint(p.Status.Phase, err)
		}
		return ""
	})
	resize := func(cpu string) error {
		_, err := c.CoreV1().Pods(ns).Patch(t.Context(), "first", "application/strategic-merge-patch+json",
			patch(`{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":%q}}}]}}`, cpu), metav1.PatchOptions{}, "resize")
		return err
	}
	refusedWith(t, resize("1100m"), "exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1")
	if err := resize("900m"); err != nil {
		t.Error(err)
	}
	eventually(t, func() string { return uses(t, c, ns, "q", "limits.memory: 512Mi/1Gi, pods: 1/2, requests.cpu: 900m/1") })
	// What ends makes room.
	p, err := c.CoreV1().Pods(ns).Get(t.Context(), "first", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Status.Phase = corev1.PodSucceeded
	if _, err := c.CoreV1().Pods(ns).UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) {
		t.Fatal(err)
	}
	if err := c.CoreV1().Pods(ns).Delete(t.Context(), "first", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string { return uses(t, c, ns, "q", "limits.memory: 0/1Gi, pods: 0/2, requests.cpu: 0/1") })
}

// Claims are counted, and their bytes, in all and by class.
func quotaOfClaims(t *testing.T, c kubernetes.Interface, ns string) {
	makeNamespace(t, c, ns)
	const classed = "slow.storageclass.storage.k8s.io/requests.storage"
	makeQuota(t, c, ns, "disk", corev1.ResourceQuotaSpec{Hard: amounts(map[corev1.ResourceName]string{
		"persistentvolumeclaims": "2", "requests.storage": "6Gi", classed: "2Gi", "services": "1",
	})})
	claim := func(name, class, bytes string) error {
		_, err := c.CoreV1().PersistentVolumeClaims(ns).Create(t.Context(), &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PersistentVolumeClaimSpec{
				StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources: corev1.VolumeResourceRequirements{Requests: amounts(map[corev1.ResourceName]string{"storage": bytes})},
			},
		}, metav1.CreateOptions{})
		return err
	}
	if err := claim("a", "slow", "1Gi"); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, claim("b", "slow", "2Gi"), "exceeded quota: disk, requested: "+classed+"=2Gi, used: "+classed+"=1Gi, limited: "+classed+"=2Gi")
	refusedWith(t, claim("b", "other", "6Gi"), "exceeded quota: disk, requested: requests.storage=6Gi, used: requests.storage=1Gi, limited: requests.storage=6Gi")
	if err := claim("b", "other", "4Gi"); err != nil {
		t.Error(err)
	}
	refusedWith(t, claim("c", "other", "1Gi"), "exceeded quota: disk, requested: persistentvolumeclaims=1, used: persistentvolumeclaims=2, limited: persistentvolumeclaims=2")
	if err := c.CoreV1().PersistentVolumeClaims(ns).Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		return uses(t, c, ns, "disk", "persistentvolumeclaims: 1/2, requests.storage: 1Gi/6Gi, services: 0/1, "+classed+": 1Gi/2Gi")
	})
}

func quotaOfWorkloads(t *testing.T, c kubernetes.Interface, ns string) {
	makeNamespace(t, c, ns)
	agent(t, c, ns)
	makeQuota(t, c, ns, "two", corev1.ResourceQuotaSpec{Hard: amounts(map[corev1.ResourceName]string{"pods": "2", "count/deployments.apps": "1"})})
	eventually(t, func() string { return uses(t, c, ns, "two", "count/deployments.apps: 0/1, pods: 0/2") })
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](3), Selector: selector("web"), Template: template("web", "i")},
	}
	eventually(t, func() string {
		if _, err := c.AppsV1().Deployments(ns).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
	second := d.DeepCopy()
	second.Name = "too"
	_, err := c.AppsV1().Deployments(ns).Create(t.Context(), second, metav1.CreateOptions{})
	refusedWith(t, err, "exceeded quota: two, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: count/deployments.apps=1")
	eventually(t, func() string {
		now, err := c.AppsV1().Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		for _, cond := range now.Status.Conditions {
			if cond.Type == appsv1.DeploymentReplicaFailure && cond.Status == corev1.ConditionTrue && cond.Reason == "FailedCreate" &&
				strings.HasSuffix(cond.Message, "exceeded quota: two, requested: pods=1, used: pods=2, limited: pods=2") && now.Status.ReadyReplicas == 2 {
				return ""
			}
		}
		return fmt.Sprintf("%+v", now.Status)
	})
	sets, err := c.AppsV1().ReplicaSets(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(sets.Items) != 1 {
		t.Fatal(len(sets.Items), err)
	}
	eventually(t, func() string {
		return told(t, c, ns, sets.Items[0].Name, "FailedCreate", "exceeded quota: two, requested: pods=1, used: pods=2, limited: pods=2")
	})
}
