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
		c, err := New(Options{Client: client, Informers: factory, RootCA: []byte("pem")})
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
		root := func(ns string) string {
			synctest.Wait()
			m, err := client.CoreV1().ConfigMaps(ns).Get(ctx, RootName, metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			return m.Data["ca.crt"]
		}
		if root("default") != "pem" || root("later") != "pem" || root("ending") == "pem" {
			t.Errorf("default %s, later %s, ending %s", root("default"), root("later"), root("ending"))
		}
		if err := client.CoreV1().ConfigMaps("later").Delete(ctx, RootName, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if root("later") != "pem" {
			t.Error("a deleted root certificate does not come back")
		}
		forged := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "later", Name: RootName}, Data: map[string]string{"ca.crt": "forged"}}
		if _, err := client.CoreV1().ConfigMaps("later").Update(ctx, forged, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if root("later") != "pem" {
			t.Error("a changed root certificate stays")
		}
	})
}

func TestRootDiff(t *testing.T) {
	right := &corev1.ConfigMap{Data: map[string]string{"ca.crt": "pem"}}
	wrong := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Data: map[string]string{"ca.crt": "old", "x": "y"}}
	active, ending := namespace("a", corev1.NamespaceActive), namespace("e", corev1.NamespaceTerminating)
	for name, c := range map[string]struct {
		ns   *corev1.Namespace
		have *corev1.ConfigMap
		want bool
	}{
		"none": {active, nil, true}, "right": {active, right, false}, "wrong": {active, wrong, true},
		"none in an ending one": {ending, nil, false}, "wrong in an ending one": {ending, wrong, false},
	} {
		got := RootDiff(c.ns, c.have, "pem")
		if (got != nil) != c.want || got != nil && (len(got.Data) != 1 || got.Data["ca.crt"] != "pem") {
			t.Errorf("%s: %+v", name, got)
		}
		if c.have != nil && got != nil && got.Labels["a"] != "b" {
			t.Errorf("%s: labels are lost", name)
		}
	}
}
