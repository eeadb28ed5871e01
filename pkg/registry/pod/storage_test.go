package pod

import (
	"context"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/utils/ptr"
)

// startEtcd runs an etcd on a socket of its own and returns its endpoint.
func startEtcd(t *testing.T) string {
	t.Helper()
	// A socket's path is limited to about 100 characters, t.TempDir is not.
	dir, err := os.MkdirTemp("", "pods")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	config := embed.NewConfig()
	config.Dir, config.LogLevel, config.UnsafeNoFsync = dir+"/data", "fatal", true
	client := url.URL{Scheme: "unix", Path: dir + "/client"}
	peer := url.URL{Scheme: "unix", Path: dir + "/peer"}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	<-server.Server.ReadyNotify()
	return client.String()
}

// newTestStorage keeps pods in an etcd of its own, without a cache.
func newTestStorage(t *testing.T) (Storage, context.Context) {
	t.Helper()
	return newStorageWith(t, generic.UndecoratedStorage)
}

func newStorageWith(t *testing.T, decorator generic.StorageDecorator) (Storage, context.Context) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	scheme.AddKnownTypes(schema.GroupVersion{Version: runtime.APIVersionInternal}, &corev1.Pod{}, &corev1.PodList{})
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	codec := serializer.NewCodecFactory(scheme).LegacyCodec(corev1.SchemeGroupVersion)
	config := storagebackend.NewDefaultConfig("/registry", codec)
	config.Transport.ServerList = []string{startEtcd(t)}
	s, err := NewStorage(generic.RESTOptions{
		StorageConfig:           config.ForResource(podsResource()),
		Decorator:               decorator,
		DeleteCollectionWorkers: 1,
		ResourcePrefix:          "/pods",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Pod.Destroy)
	ctx := genericapirequest.WithNamespace(t.Context(), "default")
	return s, ctx
}

func mustCreate(ctx context.Context, t *testing.T, s Storage, text string) *corev1.Pod {
	t.Helper()
	p := parsePod(t, text)
	SetDefaults(p)
	rest.FillObjectMetaSystemFields(p)
	obj, err := s.Pod.Create(ctx, p, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return obj.(*corev1.Pod)
}

func get(ctx context.Context, t *testing.T, s Storage, name string) *corev1.Pod {
	t.Helper()
	obj, err := s.Pod.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return obj.(*corev1.Pod)
}

func bindTo(ctx context.Context, s Storage, name, node string, uid types.UID) error {
	b := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: uid, Annotations: map[string]string{"why": "free"}},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}
	_, err := s.Binding.Create(ctx, name, b, nil, &metav1.CreateOptions{})
	return err
}

func TestBinding(t *testing.T) {
	s, ctx := newTestStorage(t)
	p := mustCreate(ctx, t, s, `{}`)
	if err := bindTo(ctx, s, "web", "node-1", "another"); !apierrors.IsConflict(err) {
		t.Errorf("bound another pod: %v", err)
	}
	if err := bindTo(ctx, s, "none", "node-1", ""); !apierrors.IsNotFound(err) {
		t.Errorf("bound no pod: %v", err)
	}
	if err := bindTo(ctx, s, "web", "", ""); !apierrors.IsInvalid(err) {
		t.Errorf("bound to no node: %v", err)
	}
	if err := bindTo(ctx, s, "web", "node-1", p.UID); err != nil {
		t.Fatal(err)
	}
	p = get(ctx, t, s, "web")
	if p.Spec.NodeName != "node-1" || p.Annotations["why"] != "free" || !conditionTrue(p, corev1.PodScheduled) ||
		p.Generation != 1 {
		t.Errorf("%+v", p)
	}
	err := bindTo(ctx, s, "web", "node-2", "")
	want := `Operation cannot be fulfilled on pods/binding "web": pod web is already assigned to node "node-1"`
	if !apierrors.IsConflict(err) || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Target: corev1.ObjectReference{Name: "n"}}
	if _, err := s.LegacyBinding.Create(ctx, b, nil, &metav1.CreateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("bound twice: %v", err)
	}
}

func TestDeletion(t *testing.T) {
	s, ctx := newTestStorage(t)
	remove := func(name string, o *metav1.DeleteOptions) bool {
		t.Helper()
		_, gone, err := s.Pod.Delete(ctx, name, rest.ValidateAllObjectFunc, o)
		if err != nil {
			t.Fatal(err)
		}
		return gone
	}
	mustCreate(ctx, t, s, `metadata: {name: unbound}`)
	if !remove("unbound", &metav1.DeleteOptions{}) {
		t.Error("a pod on no node stayed")
	}
	mustCreate(ctx, t, s, `{metadata: {name: bound}, spec: {nodeName: n}}`)
	if remove("bound", &metav1.DeleteOptions{}) {
		t.Error("a pod on a node went at once")
	}
	p := get(ctx, t, s, "bound")
	if p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 30 || p.Generation != 2 {
		t.Errorf("%+v", p.ObjectMeta)
	}
	if err := bindTo(ctx, s, "bound", "n", ""); err == nil || !strings.Contains(err.Error(), "is being deleted") {
		t.Errorf("bound: %v", err)
	}
	if !remove("bound", &metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}) {
		t.Error("grace 0 did not remove the pod")
	}
}

func TestStatusIsWrittenAlone(t *testing.T) {
	s, ctx := newTestStorage(t)
	p := mustCreate(ctx, t, s, `{}`)
	p.Status.Phase = corev1.PodRunning
	p.Spec.Containers[0].Image = "other"
	if _, _, err := s.Status.Update(ctx, "web", rest.DefaultUpdatedObjectInfo(p), rest.ValidateAllObjectFunc,
		rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	p = get(ctx, t, s, "web")
	if p.Status.Phase != corev1.PodRunning || p.Spec.Containers[0].Image != "busybox" {
		t.Errorf("%+v", p)
	}
	p.Status.Phase = corev1.PodFailed
	p.Spec.Containers[0].Image = "busybox:2"
	if _, _, err := s.Pod.Update(ctx, "web", rest.DefaultUpdatedObjectInfo(p), rest.ValidateAllObjectFunc,
		rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	p = get(ctx, t, s, "web")
	if p.Status.Phase != corev1.PodRunning || p.Spec.Containers[0].Image != "busybox:2" || p.Generation != 2 {
		t.Errorf("%+v", p)
	}
}

func TestEviction(t *testing.T) {
	s, ctx := newTestStorage(t)
	evict := func(e *policyv1.Eviction, o metav1.CreateOptions) error {
		_, err := s.Eviction.Create(ctx, "web", e, rest.ValidateAllObjectFunc, &o)
		return err
	}
	web := metav1.ObjectMeta{Name: "web"}
	p := mustCreate(ctx, t, s, `spec: {nodeName: n}`)
	if err := evict(&policyv1.Eviction{}, metav1.CreateOptions{}); !apierrors.IsBadRequest(err) {
		t.Errorf("evicted without a name: %v", err)
	}
	if err := evict(&policyv1.Eviction{ObjectMeta: web}, metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
		t.Error(err)
	}
	other := &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(types.UID("other"))}}
	if err := evict(&policyv1.Eviction{ObjectMeta: web, DeleteOptions: other}, metav1.CreateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("evicted another pod: %v", err)
	}
	if got := get(ctx, t, s, "web"); got.DeletionTimestamp != nil || len(got.Status.Conditions) > 0 {
		t.Errorf("touched: %+v", got)
	}
	same := &metav1.DeleteOptions{
		GracePeriodSeconds: ptr.To[int64](9),
		Preconditions:      &metav1.Preconditions{UID: &p.UID, ResourceVersion: &p.ResourceVersion},
	}
	if err := evict(&policyv1.Eviction{ObjectMeta: web, DeleteOptions: same}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got := get(ctx, t, s, "web")
	if got.DeletionTimestamp == nil || *got.DeletionGracePeriodSeconds != 9 || !conditionTrue(got, corev1.DisruptionTarget) {
		t.Errorf("%+v", got)
	}
}

func TestListBySelector(t *testing.T) {
	s, ctx := newTestStorage(t)
	mustCreate(ctx, t, s, `{metadata: {name: one}, spec: {nodeName: a}}`)
	mustCreate(ctx, t, s, `{metadata: {name: two}, spec: {nodeName: b}}`)
	for selector, want := range map[string]string{
		"spec.nodeName=a": "one", "spec.nodeName!=a": "two", "status.phase=Pending": "one two", "metadata.name=two": "two",
		"spec.restartPolicy=Never": "", "spec.hostNetwork=false": "one two", "spec.serviceAccountName=default": "one two",
	} {
		field, err := fields.ParseSelector(selector)
		if err != nil {
			t.Fatal(err)
		}
		obj, err := s.Pod.List(ctx, &internalversion.ListOptions{FieldSelector: field})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, p := range obj.(*corev1.PodList).Items {
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %q, want %q", selector, got, want)
		}
	}
}

// TestWatchOfOneNode goes through the cache and its index of nodes, as the
// agent's watch does.
func TestWatchOfOneNode(t *testing.T) {
	s, ctx := newStorageWith(t, genericregistry.StorageWithCacher())
	if err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, 30*time.Second, true,
		func(context.Context) (bool, error) { return s.Pod.ReadinessCheck() == nil, nil }); err != nil {
		t.Fatal(err)
	}
	mustCreate(ctx, t, s, `metadata: {name: one}`)
	w, err := s.Pod.Watch(ctx, &internalversion.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", "a"), ResourceVersion: "0",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	mustCreate(ctx, t, s, `{metadata: {name: elsewhere}, spec: {nodeName: b}}`)
	if err := bindTo(ctx, s, "one", "a", ""); err != nil {
		t.Fatal(err)
	}
	var event watch.Event
	select {
	case event = <-w.ResultChan():
	case <-time.After(20 * time.Second):
		t.Fatal("no event")
	}
	obj := event.Object
	if cached, ok := obj.(runtime.CacheableObject); ok {
		obj = cached.GetObject()
	}
	p, ok := obj.(*corev1.Pod)
	if !ok || event.Type != watch.Added || p.Name != "one" || p.Spec.NodeName != "a" {
		t.Errorf("%s %+v", event.Type, event.Object)
	}
}

func TestFieldLabels(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	gvk := corev1.SchemeGroupVersion.WithKind("Pod")
	for label, ok := range map[string]bool{
		"spec.nodeName": true, "spec.restartPolicy": true, "spec.schedulerName": true, "spec.serviceAccountName": true,
		"spec.hostNetwork": true, "status.phase": true, "status.podIP": true, "status.nominatedNodeName": true,
		"metadata.name": true, "metadata.namespace": true, "spec.hostname": false,
	} {
		if _, _, err := scheme.ConvertFieldLabel(gvk, label, "x"); (err == nil) != ok {
			t.Errorf("%s: %v", label, err)
		}
	}
}
