package resourcequota

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/resources"
	"github.com/carob-project/carob/pkg/quota"
)

// counts are monitors that say how many Secrets there are.
type counts struct {
	mu      sync.Mutex
	secrets int
	handler resources.Handler
}

func (c *counts) Subscribe(h resources.Handler) { c.handler = h }
func (c *counts) Set() resources.Set            { return resources.Set{} }
func (c *counts) Ready() <-chan struct{} {
	ready := make(chan struct{})
	close(ready)
	return ready
}

func (c *counts) Count(r schema.GroupResource, namespace string) (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.secrets, r == corev1.Resource("secrets") && namespace == "default"
}

func (c *counts) remove() { c.change(-1, c.handler.Gone) }

func (c *counts) come() { c.change(1, c.handler.Observe) }

func (c *counts) change(n int, tell func(resources.Resource, *metav1.PartialObjectMetadata)) {
	c.mu.Lock()
	c.secrets += n
	c.mu.Unlock()
	tell(resources.Resource{GVR: corev1.SchemeGroupVersion.WithResource("secrets"), Kind: "Secret", Namespaced: true},
		&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}})
}

// world is a fake API server that numbers the versions of quotas and refuses
// outdated writes.
type world struct {
	t      *testing.T
	client *fake.Clientset
	counts *counts

	mu      sync.Mutex
	version int
	writes  int
}

func start(t *testing.T, objects ...runtime.Object) *world {
	t.Helper()
	w := &world{t: t, client: fake.NewClientset(objects...), counts: &counts{secrets: 2}}
	w.client.PrependReactor("update", "resourcequotas", w.number)
	factory := informers.NewSharedInformerFactory(w.client, 0)
	c, err := New(Options{Client: w.client, Metadata: metadatafake.NewSimpleMetadataClient(metadatafake.NewTestScheme()), Informers: factory, Monitors: w.counts})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
	<-c.Ready()
	return w
}

func (w *world) number(a clienttesting.Action) (bool, runtime.Object, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := a.(clienttesting.UpdateAction).GetObject().(*corev1.ResourceQuota)
	old, err := w.client.Tracker().Get(a.GetResource(), q.Namespace, q.Name)
	if err != nil {
		return true, nil, err
	}
	if was := old.(*corev1.ResourceQuota); was.ResourceVersion != q.ResourceVersion {
		return true, nil, apierrors.NewConflict(a.GetResource().GroupResource(), q.Name, fmt.Errorf("%s is not %s", q.ResourceVersion, was.ResourceVersion))
	}
	w.version++
	w.writes++
	q.ResourceVersion = strconv.Itoa(w.version)
	return false, nil, nil
}

func (w *world) quota() *corev1.ResourceQuota {
	w.t.Helper()
	q, err := w.client.CoreV1().ResourceQuotas("default").Get(w.t.Context(), "q", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return q
}

// charge does what the API server does when something is created.
func (w *world) charge(name corev1.ResourceName, n int64) {
	w.t.Helper()
	q := w.quota()
	used := q.Status.Used[name]
	used.Add(*resource.NewQuantity(n, resource.DecimalSI))
	q.Status.Used[name] = used
	if _, err := w.client.CoreV1().ResourceQuotas("default").UpdateStatus(w.t.Context(), q, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) expect(want string) {
	w.t.Helper()
	synctest.Wait()
	var got []string
	used := w.quota().Status.Used
	for _, name := range quota.Names(used) {
		amount := used[name]
		got = append(got, fmt.Sprintf("%s=%s", name, amount.String()))
	}
	if is := strings.Join(got, " "); is != want {
		w.t.Errorf("used %s, want %s", is, want)
	}
}

func newQuota(hard ...corev1.ResourceName) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "q", UID: "q", ResourceVersion: "0"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{}}}
	for _, name := range hard {
		q.Spec.Hard[name] = resource.MustParse("10")
	}
	return q
}

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), ResourceVersion: "1"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1")}}}}},
	}
}

func (w *world) setPod(p *corev1.Pod) {
	w.t.Helper()
	w.mu.Lock()
	w.version++
	p.ResourceVersion = strconv.Itoa(w.version)
	w.mu.Unlock()
	if _, err := w.client.CoreV1().Pods("default").UpdateStatus(w.t.Context(), p, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, newQuota("pods", "cpu", "secrets", "services", "count/pods", "count/unheard.example.com"), newPod("a"), newPod("b"))
		w.expect("count/pods=2 cpu=2 pods=2 secrets=2 services=0")

		// What ends is charged for no more, at once; what is deleted neither.
		ended := newPod("a")
		ended.Status.Phase = corev1.PodSucceeded
		w.setPod(ended)
		time.Sleep(time.Second)
		w.expect("count/pods=2 cpu=1 pods=1 secrets=2 services=0")
		time.Sleep(time.Second)
		if err := w.client.CoreV1().Pods("default").Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.counts.remove()
		// The two may meet: what was added up on the older state is outdated then,
		// and is done again.
		time.Sleep(time.Second)
		w.expect("count/pods=1 cpu=0 pods=0 secrets=1 services=0")

		// Charged for and not there yet: it stays, for a while; then the
		// creation is taken to have failed when all is added up again.
		time.Sleep(time.Second)
		w.charge("secrets", 3)
		w.counts.remove()
		w.expect("count/pods=1 cpu=0 pods=0 secrets=4 services=0")
		time.Sleep(2 * calm)
		w.expect("count/pods=1 cpu=0 pods=0 secrets=0 services=0")
		w.charge("pods", 1)
		time.Sleep(resync + time.Minute)
		w.expect("count/pods=1 cpu=0 pods=0 secrets=0 services=0")

		synctest.Wait()
		w.writes = 0
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		if w.writes != 0 {
			t.Errorf("a settled quota is written %d times", w.writes)
		}
	})
}

// A pod that should have been gone is charged for no more, without anybody
// saying so; one that came before the API server knew of the quota is.
func TestByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, newQuota("pods"), newPod("a"))
		w.expect("pods=1")
		if _, err := w.client.CoreV1().Pods("default").Create(t.Context(), newPod("b"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * calm)
		w.expect("pods=2")
		leaving := newPod("a")
		leaving.DeletionTimestamp, leaving.DeletionGracePeriodSeconds = ptr.To(metav1.NewTime(time.Now().Add(30*time.Second))), ptr.To[int64](30)
		w.setPod(leaving)
		time.Sleep(50 * time.Second)
		w.expect("pods=2")
		time.Sleep(15 * time.Second)
		w.expect("pods=1")
		if err := w.client.CoreV1().ResourceQuotas("default").Delete(t.Context(), "q", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	})
}

// A quota counts itself at once; and what was there before it, though the
// monitors learn of it later.
func TestSeenLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, newQuota("resourcequotas", "count/resourcequotas", "secrets", "persistentvolumeclaims"))
		w.expect("count/resourcequotas=1 persistentvolumeclaims=0 resourcequotas=1 secrets=2")
		w.counts.come()
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c", ResourceVersion: "1"}}
		if _, err := w.client.CoreV1().PersistentVolumeClaims("default").Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		other := newQuota("configmaps")
		other.Name, other.UID = "other", "other"
		quotas := w.client.CoreV1().ResourceQuotas("default")
		if _, err := quotas.Create(t.Context(), other, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * calm)
		w.expect("count/resourcequotas=2 persistentvolumeclaims=1 resourcequotas=2 secrets=3")
		if err := quotas.Delete(t.Context(), "other", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * calm)
		w.expect("count/resourcequotas=1 persistentvolumeclaims=1 resourcequotas=1 secrets=3")
	})
}

func TestNewBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, newQuota("pods"), newPod("a"))
		w.expect("pods=1")
		q := w.quota()
		q.Spec.Hard = corev1.ResourceList{"cpu": resource.MustParse("5")}
		if _, err := w.client.CoreV1().ResourceQuotas("default").Update(t.Context(), q, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		w.expect("cpu=1")
		if hard := w.quota().Status.Hard["cpu"]; hard.Value() != 5 {
			t.Errorf("%v", hard)
		}
		// Another scope leaves out the pod.
		q = w.quota()
		q.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpExists}}}
		if _, err := w.client.CoreV1().ResourceQuotas("default").Update(t.Context(), q, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * calm)
		w.expect("cpu=0")
	})
}
