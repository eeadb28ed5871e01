package apiserver_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/apiserver"
	"github.com/carob-project/carob/pkg/etcd"
)

// The pages of a list whose revision has been dropped from the store come to an
// end, also where a cache still has it; the answer tells how to go on.
func TestPagesOfDroppedRevisions(t *testing.T) {
	t.Parallel()
	var store []string
	i := start(t, func(o *apiserver.Options) { store = o.Etcd })
	maps := i.client.CoreV1().ConfigMaps("default")
	for n := range 5 {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("page-%d", n), Labels: map[string]string{"pages": "yes"}}}
		if _, err := maps.Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	options := metav1.ListOptions{LabelSelector: "pages=yes", Limit: 2}
	first, err := maps.List(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	options.Continue = first.Continue
	if l, err := maps.List(t.Context(), options); err != nil || len(l.Items) != 2 || l.Items[0].Name != "page-2" {
		t.Fatalf("the second page: %+v, %v", l, err)
	}
	drop(t, store)

	var status apierrors.APIStatus
	for deadline := time.Now().Add(time.Minute); ; <-time.After(time.Second) {
		_, err := maps.List(t.Context(), options)
		if apierrors.IsResourceExpired(err) && errors.As(err, &status) {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("a page of a revision that is gone: %v", err)
		}
	}
	options.Continue = status.Status().Continue
	l, err := maps.List(t.Context(), options)
	if err != nil || len(l.Items) != 2 || l.Items[0].Name != "page-2" || l.ResourceVersion == first.ResourceVersion {
		t.Errorf("the page after that: %+v, %v", l, err)
	}
}

// drop drops all revisions but the newest, as the store does of itself.
func drop(t *testing.T, endpoints []string) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	now, err := c.Put(t.Context(), "/newest", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(t.Context(), etcd.CompactedKey, strconv.FormatInt(now.Header.Revision, 10)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Compact(t.Context(), now.Header.Revision); err != nil {
		t.Fatal(err)
	}
}
