package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// progressEvery is after what time the progress of a pull becomes an event; it
// doubles with each.
const progressEvery = 15 * time.Second

// pull pulls the image of a step, and tells how it goes.
func (w *worker) pull(ctx context.Context, p *corev1.Pod, s pod.Step) error {
	users := usersOf(p, s)
	w.fetches(users, s)
	// A name that is none is asked for nowhere.
	if _, _, err := w.a.o.Images.Present(ctx, s.Image); errors.Is(err, pod.ErrImageName) {
		return err
	}
	for _, name := range users {
		w.normal(p, name, reasonPulling, "Pulling image %q", s.Image)
	}
	credentials, missing, err := w.credentials(ctx, p)
	if err != nil {
		return err
	}
	began := w.a.clock()
	var mu sync.Mutex
	said, pause := began, progressEvery
	provided, err := w.provided(ctx, p, s.Image)
	if err != nil {
		return err
	}
	img, err := w.a.o.Images.Pull(ctx, s.Image, pod.PullOptions{Credentials: credentials, Provided: provided, Progress: func(text string) {
		w.note(s.ID(), text)
		mu.Lock()
		defer mu.Unlock()
		if now := w.a.clock(); now.Sub(said) >= pause {
			// Ever rarer, so that the longest pull has few of them.
			said, pause = now, 2*pause
			for _, name := range users {
				w.normal(p, name, reasonPulling, "Pulling image %q: %s", s.Image, text)
			}
		}
	}})
	if err != nil {
		w.tellMissing(ctx, p, missing, err)
		return err
	}
	took := w.a.clock().Sub(began).Round(time.Millisecond)
	for _, name := range users {
		w.normal(p, name, reasonPulled, "Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.", s.Image, took, took, img.Size)
	}
	w.a.pulled()
	return nil
}

// credentials reads the pod's imagePullSecrets and names those that are not
// there. One that cannot be read is told of, and the pull goes on without it.
func (w *worker) credentials(ctx context.Context, p *corev1.Pod) (all []pod.Credential, missing []string, err error) {
	secrets, missing, err := w.pullSecrets(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	credentials, err := pod.Credentials(secrets)
	if err != nil {
		w.warning(p, "", reasonNoPullSecret, "Unable to use some image pull secrets (%v); attempting to pull the image may not succeed.", err)
	}
	return credentials, missing, nil
}

// Credentials gives a pod credentials for an image, which is named without tag
// and digest, in their order.
type Credentials interface {
	Credentials(ctx context.Context, p *corev1.Pod, image string) []pod.Credential
}

// provided returns what the node knows itself of credentials for an image.
func (w *worker) provided(ctx context.Context, p *corev1.Pod, image string) ([]pod.Credential, error) {
	if w.a.o.Credentials == nil {
		return nil, nil
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, &pod.ImageNameError{Ref: image, Err: err}
	}
	return w.a.o.Credentials.Credentials(ctx, p, named.Name()), ctx.Err()
}

// tellMissing records which secrets were not there for a pull that failed. Like
// Kubernetes' node it says nothing where they were not needed.
func (w *worker) tellMissing(ctx context.Context, p *corev1.Pod, missing []string, err error) {
	if len(missing) == 0 || ctx.Err() != nil || errors.Is(err, pod.ErrUnavailable) {
		return
	}
	w.warning(p, "", reasonNoPullSecret, "Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.",
		strings.Join(missing, ", "))
}

func (w *worker) pullSecrets(ctx context.Context, p *corev1.Pod) (secrets []*corev1.Secret, missing []string, err error) {
	for _, ref := range p.Spec.ImagePullSecrets {
		if ref.Name == "" {
			continue
		}
		s, err := w.a.o.Client.CoreV1().Secrets(p.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			missing = append(missing, ref.Name)
		case err != nil:
			return nil, nil, fmt.Errorf("reading the imagePullSecret %q: %w", ref.Name, err)
		default:
			secrets = append(secrets, s)
		}
	}
	return secrets, missing, nil
}

// mayUse says whether the pod may use an image that is on the node. What it was
// told once holds as long as the image's keys do.
func (w *worker) mayUse(ctx context.Context, p *corev1.Pod, img pod.Image) (bool, error) {
	if img.Keys == "" {
		return true, nil
	}
	if known, ok := w.access[img.Name]; ok && known.keys == img.Keys {
		return known.open, nil
	}
	secrets, _, err := w.pullSecrets(ctx, p)
	if err != nil {
		return false, err
	}
	// Secrets that cannot be read open nothing; the pull says so.
	credentials, _ := pod.Credentials(secrets)
	provided, err := w.provided(ctx, p, img.Name)
	if err != nil {
		return false, err
	}
	credentials = append(credentials, provided...)
	a := access{img.Keys, img.OpenTo(credentials)}
	w.access[img.Name] = a
	return a.open, nil
}

// access is whether a pod may use an image with these keys.
type access struct {
	keys string
	open bool
}

// note sets the progress text of a step under way.
func (w *worker) note(id pod.StepID, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.flights[id]; f != nil {
		f.note = text
	}
}
