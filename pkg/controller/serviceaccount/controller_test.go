package serviceaccount

import (
	"context"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

func namespace(name string, phase corev1.NamespacePhase) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NamespaceStatus{Phase: phase}}
}

func TestEveryActiveNamespaceHasOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset(namespace("default", corev1.NamespaceActive), namespace("ending", corev1.NamespaceTerminating))
		factory := informers.NewSharedInformerFactory(client, 0)
		c, err := New(Options{Client: client, Informers: factory})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		factory.Start(ctx.Done())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			factory.Shutdown()
		}()
		<-c.Ready()
		has := func(ns string) bool {
			synctest.Wait()
			_, err := client.CoreV1().ServiceAccounts(ns).Get(ctx, Name, metav1.GetOptions{})
			return err == nil
		}
		if !has("default") || has("ending") {
			t.Errorf("default %v, ending %v", has("default"), has("ending"))
		}
		if err := client.Tracker().Add(namespace("later", corev1.NamespaceActive)); err != nil {
			t.Fatal(err)
		}
		if !has("later") {
			t.Error("none in a new namespace")
		}
		if err := client.CoreV1().ServiceAccounts("later").Delete(ctx, Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if !has("later") {
			t.Error("a deleted one does not come back")
		}
	})
}
