package credentialprovider

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	kubeletv1 "k8s.io/kubelet/config/v1"
)

// Accounts reads the service accounts of pods, for plugins that want to know
// them.
type Accounts interface {
	Account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
	// Token makes one for the pod's account that is bound to the pod.
	Token(ctx context.Context, p *corev1.Pod, audience string, seconds int64) (token string, expires time.Time, err error)
}

// tokenSeconds is the age of the tokens, that of a TokenRequest without one.
const tokenSeconds = 60 * 60

// identity is what a plugin is told of a pod's service account; the zero value
// is nothing.
type identity struct {
	namespace, name string
	uid             types.UID
	annotations     map[string]string
	token           string
}

// account is what answers for this identity are kept by.
func (i identity) account(t kubeletv1.ServiceAccountTokenCacheType) string {
	if i.name == "" {
		return ""
	}
	parts := []any{i.namespace, i.name, i.uid, i.annotations}
	if t == kubeletv1.TokenServiceAccountTokenCacheType {
		parts = append(parts, i.tokenHash())
	}
	key, _ := json.Marshal(parts) // strings and a map of them
	return string(key)
}

func (i identity) tokenHash() string { return fmt.Sprintf("%x", sha256.Sum256([]byte(i.token))) }

// identify returns what the plugin wants to know of a pod's account; ok is false
// where it is not to be asked for this pod.
func (p *Provider) identify(ctx context.Context, c kubeletv1.CredentialProvider, owner *corev1.Pod) (i identity, ok bool, err error) {
	t := c.TokenAttributes
	if t == nil {
		return identity{}, true, nil
	}
	name := owner.Spec.ServiceAccountName
	if name == "" {
		return identity{}, !*t.RequireServiceAccount, nil
	}
	sa, err := p.opts.Accounts.Account(ctx, owner.Namespace, name)
	if err != nil {
		return identity{}, false, fmt.Errorf("failed to get service account: %w", err)
	}
	i = identity{namespace: owner.Namespace, name: name, uid: sa.UID, annotations: map[string]string{}}
	for _, k := range t.RequiredServiceAccountAnnotationKeys {
		v, there := sa.Annotations[k]
		if !there {
			// This is how workloads opt in.
			return identity{}, false, nil
		}
		i.annotations[k] = v
	}
	for _, k := range t.OptionalServiceAccountAnnotationKeys {
		if v, there := sa.Annotations[k]; there {
			i.annotations[k] = v
		}
	}
	if i.token, err = p.tokens.get(ctx, p.opts, owner, t.ServiceAccountTokenAudience); err != nil {
		return identity{}, false, fmt.Errorf("failed to get service account token: %w", err)
	}
	return i, true, nil
}

// tokens keeps those of pods until they are to be renewed, at 80 % of their
// life: answers may be kept by token.
type tokens struct {
	mu   sync.Mutex
	held map[tokenKey]heldToken
}

type tokenKey struct {
	pod      types.UID
	audience string
}

type heldToken struct {
	token string
	until time.Time
}

func (t *tokens) get(ctx context.Context, o Options, owner *corev1.Pod, audience string) (string, error) {
	now, key := o.Now(), tokenKey{owner.UID, audience}
	t.mu.Lock()
	maps.DeleteFunc(t.held, func(_ tokenKey, h heldToken) bool { return !now.Before(h.until) })
	h, ok := t.held[key]
	t.mu.Unlock()
	if ok {
		return h.token, nil
	}
	token, expires, err := o.Accounts.Token(ctx, owner, audience, tokenSeconds)
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held == nil {
		t.held = map[tokenKey]heldToken{}
	}
	t.held[key] = heldToken{token, now.Add(expires.Sub(now) * 4 / 5)}
	return token, nil
}
