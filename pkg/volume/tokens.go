package volume

import (
	"context"
	"fmt"
	"path"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

const (
	// tokenMode is that of a token that belongs to somebody in particular.
	tokenMode int32 = 0o600
	// tokenSeconds is the age of a token for which the pod names none.
	tokenSeconds int64 = 60 * 60
	// tokenDay is after what time a token is renewed, however long it lives.
	tokenDay = 24 * time.Hour
)

// tokenPayload returns the file with a token. It may be read by everyone, unless
// the pod says whose it is: one user that all containers run as, or the group of
// its volumes.
func (m *Manager) tokenPayload(ctx context.Context, p *corev1.Pod, s *corev1.ServiceAccountTokenProjection, mode int32) (payload, error) {
	token, err := m.token(ctx, p, tokenKey{s.Audience, or(s.ExpirationSeconds, tokenSeconds)})
	if err != nil {
		return nil, fmt.Errorf("failed to fetch token: %w", err)
	}
	f := file{data: []byte(token), mode: mode}
	user := pod.CommonUser(p)
	if user != nil {
		f.owner = int(*user)
	}
	if user != nil || groupOf(p) != noGroup {
		f.mode = tokenMode
	}
	out := payload{path.Clean(s.Path): f}
	return out, out.check()
}

// tokenKey tells the tokens of one pod apart.
type tokenKey struct {
	audience string
	seconds  int64
}

type heldToken struct {
	token   string
	expires time.Time
}

// due says whether the token should be replaced: at 80 % of its life, or when it
// is a day old.
func (t heldToken) due(seconds int64, now time.Time) bool {
	life := time.Duration(seconds) * time.Second
	made := t.expires.Add(-life)
	return !now.Before(made.Add(min(life*4/5, tokenDay)))
}

// tokenCache keeps tokens, so that bringing a volume up to date costs nothing.
type tokenCache struct {
	mu   sync.Mutex
	held map[types.UID]map[tokenKey]heldToken
}

func (c *tokenCache) get(uid types.UID, k tokenKey) (heldToken, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.held[uid][k]
	return t, ok
}

func (c *tokenCache) put(uid types.UID, k tokenKey, t heldToken) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[uid] == nil {
		c.held[uid] = map[tokenKey]heldToken{}
	}
	c.held[uid][k] = t
}

func (c *tokenCache) forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.held, uid)
}

// token returns a token that need not be replaced yet. Where a new one cannot be
// had, the old one serves to its end.
func (m *Manager) token(ctx context.Context, p *corev1.Pod, k tokenKey) (string, error) {
	if m.opts.Tokens == nil {
		return "", unsupported("a token of a service account")
	}
	now := m.opts.Now()
	old, have := m.tokens.get(p.UID, k)
	if have && !old.due(k.seconds, now) {
		return old.token, nil
	}
	token, expires, err := m.opts.Tokens.Token(ctx, p, k.audience, k.seconds)
	if err == nil {
		m.tokens.put(p.UID, k, heldToken{token, expires})
		return token, nil
	}
	if !have || now.After(old.expires) {
		return "", err
	}
	m.opts.Log.Warn("a token is not renewed yet", zap.String("pod", p.Namespace+"/"+p.Name),
		zap.String("uid", string(p.UID)), zap.Time("expires", old.expires), zap.Error(err))
	return old.token, nil
}
