// Package loops has tests of the workload controllers under virtual time: each
// runs over a fake API server that counts writes, and a fake node that makes
// pods ready. What the controllers decide is tested beside their decisions.
package loops

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/carob-project/carob/pkg/controller/deployment"
	"github.com/carob-project/carob/pkg/controller/disruption"
	"github.com/carob-project/carob/pkg/controller/persistentvolume"
	"github.com/carob-project/carob/pkg/controller/protection"
	"github.com/carob-project/carob/pkg/controller/replicaset"
	"github.com/carob-project/carob/pkg/controller/statefulset"
	"github.com/carob-project/carob/pkg/controller/tainteviction"
)

// readyAfter is how long a pod of the fake node takes to become ready.
const readyAfter = 2 * time.Second

// never is the image of pods that do not become ready.
const never = "never"

// world is a fake API server, in which the controllers of workloads run.
type world struct {
	t        *testing.T
	client   *fake.Clientset
	recorder *record.FakeRecorder

	mu      sync.Mutex
	version int
	writes  []string
}

// run starts the controllers and a node over what is there.
func run(t *testing.T, objects ...runtime.Object) *world {
	t.Helper()
	w := &world{t: t, client: fake.NewClientset(objects...), recorder: record.NewFakeRecorder(1000)}
	w.client.PrependReactor("*", "*", w.react)
	factory := informers.NewSharedInformerFactory(w.client, 0)
	if _, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: w.play}); err != nil {
		t.Fatal(err)
	}
	type loop interface {
		Run(ctx context.Context) error
		Ready() <-chan struct{}
	}
	d, err := deployment.New(deployment.Options{Client: w.client, Informers: factory, Recorder: w.recorder})
	if err != nil {
		t.Fatal(err)
	}
	rs, err := replicaset.New(replicaset.Options{Client: w.client, Informers: factory, Recorder: w.recorder})
	if err != nil {
		t.Fatal(err)
	}
	rc, err := replicaset.NewForReplicationControllers(replicaset.Options{Client: w.client, Informers: factory, Recorder: w.recorder})
	if err != nil {
		t.Fatal(err)
	}
	sts, err := statefulset.New(statefulset.Options{Client: w.client, Informers: factory, Recorder: w.recorder})
	if err != nil {
		t.Fatal(err)
	}
	pv, err := persistentvolume.New(persistentvolume.Options{Client: w.client, Informers: factory, Recorder: w.recorder})
	if err != nil {
		t.Fatal(err)
	}
	guard, err := protection.New(protection.Options{Client: w.client, Informers: factory})
	if err != nil {
		t.Fatal(err)
	}
	budgets, err := disruption.New(disruption.Options{Client: w.client, Informers: factory, Recorder: w.recorder})
	if err != nil {
		t.Fatal(err)
	}
	evictions, err := tainteviction.New(tainteviction.Options{Client: w.client, Informers: factory, Recorder: w.recorder})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	factory.Start(ctx.Done())
	var all sync.WaitGroup
	for _, l := range []loop{d, rs, rc, sts, pv, guard, budgets, evictions} {
		all.Go(func() {
			if err := l.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		<-l.Ready()
	}
	t.Cleanup(func() {
		cancel()
		all.Wait()
		factory.Shutdown()
	})
	return w
}

// react does what a real API server does and the fake one does not: it numbers
// versions and generations, refuses outdated writes, and keeps spec and status
// apart.
func (w *world) react(a clienttesting.Action) (bool, runtime.Object, error) {
	switch a.GetVerb() {
	case "create", "update", "patch", "delete":
	default:
		return false, nil, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes = append(w.writes, a.GetVerb()+" "+a.GetResource().Resource+"/"+a.GetSubresource())
	w.version++
	create, ok := a.(clienttesting.CreateAction)
	if !ok {
		return false, nil, nil
	}
	obj := create.GetObject()
	m, err := meta.Accessor(obj)
	if err != nil {
		return true, nil, err
	}
	if a.GetVerb() == "create" {
		m.SetUID(types.UID(fmt.Sprintf("uid-%d", w.version)))
		m.SetCreationTimestamp(metav1.Now())
		m.SetGeneration(1)
	} else {
		old, err := w.client.Tracker().Get(a.GetResource(), m.GetNamespace(), m.GetName())
		if err != nil {
			return true, nil, err
		}
		was, err := meta.Accessor(old)
		if err != nil {
			return true, nil, err
		}
		if v := m.GetResourceVersion(); v != "" && v != was.GetResourceVersion() {
			return true, nil, apierrors.NewConflict(a.GetResource().GroupResource(), m.GetName(), fmt.Errorf("%s is not %s", v, was.GetResourceVersion()))
		}
		keep := "Status"
		if a.GetSubresource() == "status" {
			keep = "Spec"
		}
		m.SetGeneration(was.GetGeneration())
		if f := field(obj, keep); f.IsValid() {
			f.Set(field(old, keep))
		}
		if f := field(obj, "Spec"); f.IsValid() && !apiequality.Semantic.DeepEqual(f.Interface(), field(old, "Spec").Interface()) {
			m.SetGeneration(was.GetGeneration() + 1)
		}
	}
	m.SetResourceVersion(strconv.Itoa(w.version))
	return false, nil, nil
}

func field(obj runtime.Object, name string) reflect.Value {
	return reflect.ValueOf(obj).Elem().FieldByName(name)
}

// play makes a new pod ready after a while.
func (w *world) play(obj any) {
	p := obj.(*corev1.Pod).DeepCopy()
	if p.Spec.Containers[0].Image == never {
		return
	}
	time.AfterFunc(readyAfter, func() {
		now, err := w.client.CoreV1().Pods(p.Namespace).Get(context.Background(), p.Name, metav1.GetOptions{})
		if err != nil || now.UID != p.UID {
			return
		}
		now.Status.Phase = corev1.PodRunning
		now.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		if _, err := w.client.CoreV1().Pods(p.Namespace).UpdateStatus(context.Background(), now, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
			w.t.Error(err)
		}
	})
}

// settle lets time pass, and all that is to happen in it.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// quiet fails the test if anything is written in the next hours.
func (w *world) quiet() {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	w.writes = nil
	w.mu.Unlock()
	settle(5 * time.Hour)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.writes) > 0 {
		w.t.Errorf("a settled workload writes: %q", w.writes)
	}
}

// pods are the names of pods by image.
func (w *world) pods() map[string][]string {
	w.t.Helper()
	list, err := w.client.CoreV1().Pods("default").List(w.t.Context(), metav1.ListOptions{LabelSelector: labels.Everything().String()})
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string][]string{}
	for _, p := range list.Items {
		image := p.Spec.Containers[0].Image
		out[image] = append(out[image], p.Name)
	}
	for _, names := range out {
		slices.Sort(names)
	}
	return out
}

// count fails the test unless there are so many pods of each image.
func (w *world) count(want map[string]int) {
	w.t.Helper()
	synctest.Wait()
	got := map[string]int{}
	for image, names := range w.pods() {
		got[image] = len(names)
	}
	if !reflect.DeepEqual(got, want) {
		w.t.Errorf("at %v: pods %v, want %v", time.Now(), got, want)
	}
}

func template(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image}}},
	}
}

func selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: "default"}
}
