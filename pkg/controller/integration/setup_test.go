// Package integration runs the scheduler and the controllers against a real
// API server and store in a temporary directory.
package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"go.uber.org/zap"

	"github.com/carob-project/carob/pkg/apiserver"
	"github.com/carob-project/carob/pkg/controller/manager"
	"github.com/carob-project/carob/pkg/etcd"
	"github.com/carob-project/carob/pkg/pki"
	"github.com/carob-project/carob/pkg/scheduler/loop"
)

// patience bounds every wait; on a quiet machine all take milliseconds.
const patience = 30 * time.Second

// run runs f until the test ends.
func run(t *testing.T, name string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
}

func awaitClosed(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s is not ready", what)
	}
}

// start brings up store, API server, controllers and scheduler, and returns an
// administrator's client.
func start(t *testing.T) kubernetes.Interface {
	t.Helper()
	return kubernetes.NewForConfigOrDie(startConfig(t))
}

// startConfig returns what an administrator's clients are made of.
func startConfig(t *testing.T) *rest.Config {
	t.Helper()
	dir := t.TempDir()
	log := zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))
	store, err := etcd.Start(t.Context(), etcd.Options{Dir: dir + "/etcd", RunDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Stop)
	certs, err := pki.Open(pki.Options{Dir: dir + "/pki"})
	if err != nil {
		t.Fatal(err)
	}
	server, err := apiserver.New(apiserver.Options{Listen: "127.0.0.1:0", PKI: certs, Etcd: store.Endpoints(), Log: log.Named("apiserver")})
	if err != nil {
		t.Fatal(err)
	}
	run(t, "API server", server.Run)
	awaitClosed(t, "API server", server.Ready())

	client := func(user string, groups ...string) (kubernetes.Interface, metadata.Interface) {
		config, err := server.ClientConfig(user, groups...)
		if err != nil {
			t.Fatal(err)
		}
		return kubernetes.NewForConfigOrDie(config), metadata.NewForConfigOrDie(config)
	}
	controllersClient, controllersMetadata := client(pki.UserControllers)
	controllers, err := manager.New(manager.Options{Client: controllersClient, Metadata: controllersMetadata, Log: log.Named("controllers")})
	if err != nil {
		t.Fatal(err)
	}
	schedulerClient, _ := client(pki.UserScheduler)
	scheduler, err := loop.New(loop.Options{Client: schedulerClient, Log: log.Named("scheduler")})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	run(t, "controllers", controllers.Run)
	run(t, "scheduler", scheduler.Run)
	awaitClosed(t, "controllers", controllers.Ready())
	awaitClosed(t, "scheduler", scheduler.Ready())
	t.Logf("controllers and scheduler ready after %v", time.Since(began))
	admin, err := server.ClientConfig(pki.AdminUser, pki.GroupMasters)
	if err != nil {
		t.Fatal(err)
	}
	return admin
}

// eventually waits until check says "".
func eventually(t *testing.T, check func() string) {
	t.Helper()
	began := time.Now()
	last := ""
	err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		last = check()
		return last == "", nil
	})
	if err != nil {
		t.Fatalf("after %v: %s", time.Since(began), last)
	}
}

// gone says "" when err is NotFound.
func gone(err error) string {
	if apierrors.IsNotFound(err) {
		return ""
	}
	return fmt.Sprintf("still there (%v)", err)
}

func makeNamespace(t *testing.T, c kubernetes.Interface, name string) {
	t.Helper()
	_, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// makeNode makes a node that is ready, with room for so many CPUs.
func makeNode(t *testing.T, c kubernetes.Interface, name, cpu string) {
	t.Helper()
	n, err := c.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"test": name}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse("64Gi"), "pods": resource.MustParse("1000")}
	n.Status.Capacity = n.Status.Allocatable
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	if _, err := c.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// podFor is a pod that only the node with that test label suits.
func podFor(node, namespace, name, cpu string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"test": node},
			Containers: []corev1.Container{{Name: "c", Image: "example.com/x", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu)},
			}}},
		},
	}
}

func makePod(t *testing.T, c kubernetes.Interface, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	p, err := c.CoreV1().Pods(p.Namespace).Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// makeMap makes a ConfigMap, which stands for any object, owned by owners.
func makeMap(t *testing.T, c kubernetes.Interface, namespace, name string, owners ...*corev1.ConfigMap) *corev1.ConfigMap {
	t.Helper()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	for _, o := range owners {
		m.OwnerReferences = append(m.OwnerReferences, metav1.OwnerReference{
			APIVersion: "v1", Kind: "ConfigMap", Name: o.Name, UID: o.UID, BlockOwnerDeletion: new(true),
		})
	}
	m, err := c.CoreV1().ConfigMaps(namespace).Create(t.Context(), m, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func hold(t *testing.T, c kubernetes.Interface, m *corev1.ConfigMap, finalizers string) {
	t.Helper()
	_, err := c.CoreV1().ConfigMaps(m.Namespace).Patch(t.Context(), m.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":`+finalizers+`}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func deleteMap(t *testing.T, c kubernetes.Interface, m *corev1.ConfigMap, policy metav1.DeletionPropagation) {
	t.Helper()
	if err := c.CoreV1().ConfigMaps(m.Namespace).Delete(t.Context(), m.Name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		t.Fatal(err)
	}
}

// mapGone says "" when the ConfigMap does not exist.
func mapGone(t *testing.T, c kubernetes.Interface, m *corev1.ConfigMap) string {
	_, err := c.CoreV1().ConfigMaps(m.Namespace).Get(t.Context(), m.Name, metav1.GetOptions{})
	if msg := gone(err); msg != "" {
		return m.Name + " " + msg
	}
	return ""
}
