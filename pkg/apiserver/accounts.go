package apiserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/carob-project/carob/pkg/registry/pod"
)

// accountWait is how long a pod is kept waiting for the service account that a
// controller is about to make in its namespace.
const accountWait = 2 * time.Second

// enforceMountable is the annotation with which a service account limits its
// pods to the secrets that it lists.
const enforceMountable = "kubernetes.io/enforce-mountable-secrets"

// accounts gives every new pod its service account: the pod is refused where
// there is none of that name.
type accounts struct {
	*admission.Handler
	client kubernetes.Interface
	lister corelisters.ServiceAccountLister

	mu sync.Mutex
	// added is closed when a service account appears.
	added chan struct{}
}

var (
	_ admission.MutationInterface   = (*accounts)(nil)
	_ admission.ValidationInterface = (*accounts)(nil)
)

func newAccounts(client kubernetes.Interface, shared informers.SharedInformerFactory) (*accounts, error) {
	i := shared.Core().V1().ServiceAccounts()
	p := &accounts{
		Handler: admission.NewHandler(admission.Create), client: client, lister: i.Lister(), added: make(chan struct{}),
	}
	h, err := i.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { p.wake() }})
	if err != nil {
		return nil, fmt.Errorf("watch service accounts: %w", err)
	}
	p.SetReadyFunc(h.HasSynced)
	return p, nil
}

func (p *accounts) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.added)
	p.added = make(chan struct{})
}

func (p *accounts) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.added
}

// subject returns the new pod that a request is about, or nil.
func (p *accounts) subject(a admission.Attributes) *corev1.Pod {
	if a.GetResource().GroupResource() != corev1.Resource("pods") || a.GetSubresource() != "" || a.GetOperation() != admission.Create {
		return nil
	}
	pod, _ := a.GetObject().(*corev1.Pod)
	return pod
}

// Admit adds what follows from the service account.
func (p *accounts) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	subject := p.subject(a)
	if subject == nil {
		return nil
	}
	if !p.WaitForReady() {
		return admission.NewForbidden(a, errors.New("not yet ready to handle request"))
	}
	pod.NameServiceAccount(&subject.Spec)
	account, err := p.account(ctx, a.GetNamespace(), subject.Spec.ServiceAccountName)
	if err != nil {
		return refusal(a, subject, err)
	}
	pod.ApplyServiceAccount(&subject.Spec, account, names.SimpleNameGenerator.GenerateName)
	return nil
}

// Validate sees to it that the pod still has its service account when all
// plugins have had their say.
func (p *accounts) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	subject := p.subject(a)
	if subject == nil {
		return nil
	}
	if subject.Spec.ServiceAccountName == "" {
		return admission.NewForbidden(a, fmt.Errorf("no service account specified for pod %s/%s", a.GetNamespace(), subject.Name))
	}
	account, err := p.account(ctx, a.GetNamespace(), subject.Spec.ServiceAccountName)
	if err != nil {
		return refusal(a, subject, err)
	}
	if strings.EqualFold(account.Annotations[enforceMountable], "true") {
		if err := pod.OnlyMountable(&subject.Spec, account); err != nil {
			return admission.NewForbidden(a, err)
		}
	}
	return nil
}

func refusal(a admission.Attributes, p *corev1.Pod, err error) error {
	return admission.NewForbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.GetNamespace(), p.Spec.ServiceAccountName, err))
}

// account returns the service account. For the one that every namespace gets it
// waits a little.
func (p *accounts) account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	ctx, cancel := context.WithTimeout(ctx, accountWait)
	defer cancel()
	for {
		added := p.next()
		if s, err := p.lister.ServiceAccounts(namespace).Get(name); err == nil {
			return s, nil
		}
		// The informer may lag behind.
		s, err := p.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil || !apierrors.IsNotFound(err) && ctx.Err() == nil {
			return s, err
		}
		if name != pod.DefaultServiceAccount {
			return nil, notFound(name)
		}
		select {
		case <-added:
		case <-ctx.Done():
			return nil, notFound(name)
		}
	}
}

func notFound(name string) error {
	return apierrors.NewNotFound(corev1.Resource("serviceaccount"), name)
}
