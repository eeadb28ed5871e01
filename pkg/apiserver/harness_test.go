package apiserver_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/carob-project/carob/pkg/apiserver"
	"github.com/carob-project/carob/pkg/etcd"
	"github.com/carob-project/carob/pkg/logging"
	"github.com/carob-project/carob/pkg/pki"
	"github.com/carob-project/carob/pkg/version"
)

func TestMain(m *testing.M) {
	logging.RouteKlog(zap.NewNop())
	os.Exit(m.Run())
}

// instance is a server with a store of its own in a temporary directory.
type instance struct {
	*apiserver.Server
	pki    *pki.Store
	admin  *rest.Config
	client kubernetes.Interface
	stop   func()
}

func start(t *testing.T, options ...func(*apiserver.Options)) *instance {
	t.Helper()
	return startIn(t, t.TempDir(), options...)
}

func startIn(t *testing.T, dir string, options ...func(*apiserver.Options)) *instance {
	t.Helper()
	began := time.Now()
	certificates, err := pki.Open(pki.Options{Dir: filepath.Join(dir, "pki")})
	if err != nil {
		t.Fatal(err)
	}
	store, err := etcd.Start(t.Context(), etcd.Options{Dir: filepath.Join(dir, "etcd"), RunDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	o := apiserver.Options{Listen: "127.0.0.1:0", PKI: certificates, Etcd: store.Endpoints(), Version: version.Info()}
	for _, set := range options {
		set(&o)
	}
	s, err := apiserver.New(o)
	if err != nil {
		store.Stop()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	i := &instance{Server: s, pki: certificates}
	i.stop = func() {
		cancel()
		if err, open := <-ended; open && err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		close(ended)
		store.Stop()
		i.stop = func() {}
	}
	t.Cleanup(func() { i.stop() })
	select {
	case <-s.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("not ready after 20 s")
	}
	t.Logf("ready after %s", time.Since(began).Round(time.Millisecond))
	i.admin = i.config(t, pki.AdminUser, pki.GroupMasters)
	i.client = i.as(t, pki.AdminUser, pki.GroupMasters)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := i.client.CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	return i
}

func (i *instance) config(t *testing.T, user string, groups ...string) *rest.Config {
	t.Helper()
	c, err := i.ClientConfig(user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (i *instance) as(t *testing.T, user string, groups ...string) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(i.config(t, user, groups...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (i *instance) dynamic(t *testing.T) dynamic.Interface {
	t.Helper()
	c, err := dynamic.NewForConfig(i.admin)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
