package apiserver

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
)

// namespacesHook is this hook's name in /readyz: the server is ready when the
// namespaces that everybody expects are there.
const namespacesHook = "carob/initial-namespaces"

const namespaceRetry = 20 * time.Millisecond

func initialNamespaces() []string {
	return []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}
}

// immortalNamespaces cannot be deleted.
func immortalNamespaces() []string {
	return []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic}
}

// makeNamespaces tries until all of them exist: at first the server may not
// answer itself yet.
func makeNamespaces(client kubernetes.Interface) genericapiserver.PostStartHookFunc {
	return func(hook genericapiserver.PostStartHookContext) error {
		return wait.PollUntilContextCancel(hook, namespaceRetry, true, func(ctx context.Context) (bool, error) {
			for _, name := range initialNamespaces() {
				n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
				_, err := client.CoreV1().Namespaces().Create(ctx, n, metav1.CreateOptions{})
				if err != nil && !apierrors.IsAlreadyExists(err) {
					return false, nil
				}
			}
			return true, nil
		})
	}
}
