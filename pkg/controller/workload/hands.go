package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
)

const (
	// burst is how many pods of an owner are made or deleted in one go.
	burst = 500
	// suffixLength is that of names the API server generates.
	suffixLength = 5
	// maxPrefix leaves room for the suffix in a name of 63 characters.
	maxPrefix = 63 - suffixLength
)

// Owner is an object that owns pods.
type Owner interface {
	runtime.Object
	metav1.Object
}

// Hands do what a controller has decided about pods, and tell of it in events
// on the owner.
type Hands struct {
	Client   kubernetes.Interface
	Recorder record.EventRecorder
	Pending  *Pending
	// Message is what events say of a pod that was to be created or deleted;
	// nil is the usual.
	Message func(verb string, owner Owner, p *corev1.Pod, err error) string
}

// tell makes the event of what was done, or was not.
func (h *Hands) tell(verb string, owner Owner, p *corev1.Pod, err error) {
	eventType, reason := corev1.EventTypeNormal, "Successful"+verb
	text := fmt.Sprintf("%sd pod: %v", verb, p.Name)
	if err != nil {
		eventType, reason = corev1.EventTypeWarning, "Failed"+verb
		text = fmt.Sprintf("Error %sing: %v", strings.ToLower(strings.TrimSuffix(verb, "e")), err)
	}
	if h.Message != nil {
		text = h.Message(verb, owner, p, err)
	}
	h.Recorder.Event(owner, eventType, reason, text)
}

// Make creates n pods as MakeAll does. pod returns a new pod each time.
func (h *Hands) Make(ctx context.Context, owner Owner, n int, pod func() *corev1.Pod) error {
	pods := make([]*corev1.Pod, min(n, burst))
	for i := range pods {
		pods[i] = pod()
	}
	_, err := h.MakeAll(ctx, owner, pods)
	return err
}

// MakeAll creates pods, in batches that double as long as all goes well. It
// returns how many there are now, and the first failure. Each generateName is
// made a name.
func (h *Hands) MakeAll(ctx context.Context, owner Owner, pods []*corev1.Pod) (made int, err error) {
	pods = pods[:min(len(pods), burst)]
	for batch := 1; len(pods) > 0; batch *= 2 {
		batch = min(batch, len(pods))
		var ok atomic.Int64
		err := inParallel(batch, func(i int) error {
			err := h.Create(ctx, owner, pods[i])
			if err == nil {
				ok.Add(1)
			}
			return err
		})
		made += int(ok.Load())
		if err != nil {
			return made, err
		}
		pods = pods[batch:]
	}
	return made, nil
}

// Create makes one pod. That its namespace is being deleted is no failure.
func (h *Hands) Create(ctx context.Context, owner Owner, p *corev1.Pod) error {
	if p.Name == "" {
		p.Name = p.GenerateName[:min(len(p.GenerateName), maxPrefix)] + utilrand.String(suffixLength)
	}
	h.Pending.Create(owner.GetUID(), p.Name)
	_, err := h.Client.CoreV1().Pods(owner.GetNamespace()).Create(ctx, p, metav1.CreateOptions{})
	if err == nil {
		h.tell("Create", owner, p, nil)
		return nil
	}
	h.Pending.Created(owner.GetUID(), p.Name)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	h.tell("Create", owner, p, err)
	return err
}

// Delete deletes pods and returns the first failure; one that is gone already
// is none.
func (h *Hands) Delete(ctx context.Context, owner Owner, pods []*corev1.Pod) error {
	pods = pods[:min(len(pods), burst)]
	return inParallel(len(pods), func(i int) error { return h.delete(ctx, owner, pods[i]) })
}

func (h *Hands) delete(ctx context.Context, owner Owner, p *corev1.Pod) error {
	h.Pending.Delete(owner.GetUID(), p.UID)
	err := h.Client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}})
	if err == nil {
		h.tell("Delete", owner, p, nil)
		return nil
	}
	h.Pending.Deleted(owner.GetUID(), p.UID)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone, or another pod by now
	}
	h.tell("Delete", owner, p, err)
	return err
}

// PatchPod sends a merge patch of a pod's owners.
func (h *Hands) PatchPod(ctx context.Context, p metav1.Object, patch []byte) error {
	_, err := h.Client.CoreV1().Pods(p.GetNamespace()).Patch(ctx, p.GetName(), types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

// ErrOwnerGone is returned by Settle when the owner must not adopt any more.
var ErrOwnerGone = errors.New("owner is gone or being deleted")

// Settle carries out claims: patch writes to an object, fresh reads the owner
// past every cache, which is asked before something is adopted. It returns all
// that is the owner's then.
func Settle[T metav1.Object](ctx context.Context, owner metav1.Object, ref metav1.OwnerReference, c Claims[T],
	fresh func(context.Context) (metav1.Object, error), patch func(context.Context, metav1.Object, []byte) error,
) ([]T, error) {
	mine := c.Mine
	if len(c.Adopt) > 0 {
		now, err := fresh(ctx)
		if err != nil {
			return nil, err
		}
		if now.GetUID() != owner.GetUID() || now.GetDeletionTimestamp() != nil {
			return nil, fmt.Errorf("%s/%s: %w", owner.GetNamespace(), owner.GetName(), ErrOwnerGone)
		}
	}
	for _, o := range c.Adopt {
		switch err := patch(ctx, o, adoption(o.GetUID(), ref)); {
		case err == nil:
			mine = append(mine, o)
		case !apierrors.IsNotFound(err):
			return nil, err
		}
	}
	for _, o := range c.Release {
		err := patch(ctx, o, release(o.GetUID(), ref.UID))
		// Invalid: it has another UID, or is released already.
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsInvalid(err) {
			return nil, err
		}
	}
	return mine, nil
}

type ownersPatch struct {
	Metadata struct {
		UID             types.UID `json:"uid"`
		OwnerReferences []any     `json:"ownerReferences"`
	} `json:"metadata"`
}

func adoption(uid types.UID, ref metav1.OwnerReference) []byte { return marshal(uid, ref) }

func release(uid, owner types.UID) []byte {
	return marshal(uid, map[string]any{"$patch": "delete", "uid": owner})
}

func marshal(uid types.UID, reference any) []byte {
	var p ownersPatch
	p.Metadata.UID, p.Metadata.OwnerReferences = uid, []any{reference}
	data, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and booleans can always be written
	}
	return data
}

// inParallel calls f with 0 to n-1 and returns the first error by number.
func inParallel(n int, f func(int) error) error {
	errs := make([]error, n)
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { errs[i] = f(i) })
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
