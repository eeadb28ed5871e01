package apiserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/carob-project/carob/pkg/identity"
	registry "github.com/carob-project/carob/pkg/registry/serviceaccount"
)

// shelf has objects by namespace and name, and in a cache that may lag behind.
type shelf struct{ stored, cached map[string]runtime.Object }

func (s shelf) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	from := s.stored
	if o.ResourceVersion == "0" && s.cached != nil {
		from = s.cached
	}
	if obj := from[genericapirequest.NamespaceValue(ctx)+"/"+name]; obj != nil {
		return obj, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("things"), name)
}

func newTokenSigner(t *testing.T) *identity.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := identity.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokensAreRecognised(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	meta := func(namespace, name, uid string, deleted time.Duration) metav1.ObjectMeta {
		m := metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(uid)}
		if deleted != 0 {
			m.DeletionTimestamp = &metav1.Time{Time: now.Add(deleted)}
		}
		return m
	}
	account := func(uid string, deleted time.Duration) map[string]runtime.Object {
		return map[string]runtime.Object{"shop/till": &corev1.ServiceAccount{ObjectMeta: meta("shop", "till", uid, deleted)}}
	}
	pod := func(uid string, deleted time.Duration) map[string]runtime.Object {
		return map[string]runtime.Object{"shop/p": &corev1.Pod{ObjectMeta: meta("shop", "p", uid, deleted)}}
	}
	secret := map[string]runtime.Object{"shop/s": &corev1.Secret{ObjectMeta: meta("shop", "s", "s1", 0)}}
	node := map[string]runtime.Object{"/n": &corev1.Node{ObjectMeta: meta("", "n", "n1", 0)}}
	inPod := identity.Bound{Pod: &corev1.Pod{ObjectMeta: meta("shop", "p", "p1", 0)}, Node: &corev1.Node{ObjectMeta: meta("", "n", "n1", 0)}}
	type objects = map[string]runtime.Object
	for name, x := range map[string]struct {
		bound                                          identity.Bound
		accounts, pods, secrets, nodes, cachedAccounts objects
		audiences, want                                []string
		later                                          time.Duration
		says                                           string
	}{
		"good":                    {accounts: account("a1", 0)},
		"expired":                 {accounts: account("a1", 0), later: time.Hour, says: identity.ErrExpired.Error()},
		"not yet":                 {accounts: account("a1", 0), later: -time.Hour, says: identity.ErrNotYetValid.Error()},
		"for another audience":    {accounts: account("a1", 0), audiences: []string{"vault"}, says: `token audiences ["vault"] is invalid for the target audiences`},
		"asked for that audience": {accounts: account("a1", 0), audiences: []string{"vault"}, want: []string{"vault", "x"}},
		"no account":              {says: "not found"},
		"another of its name":     {accounts: account("a2", 0), says: "service account UID (a2) does not match claim (a1)"},
		"an account that goes":    {accounts: account("a1", -time.Hour), says: "service account shop/till has been deleted"},
		"one that is yet to go":   {accounts: account("a1", time.Minute)},
		"one made anew since":     {accounts: account("a1", 0), cachedAccounts: account("a0", 0)},
		"a pod's":                 {bound: inPod, accounts: account("a1", 0), pods: pod("p1", 0)},
		"of a pod that is gone":   {bound: inPod, accounts: account("a1", 0), says: errInvalidated.Error()},
		"of another pod":          {bound: inPod, accounts: account("a1", 0), pods: pod("p2", 0), says: "pod UID (p2) does not match service account pod ref claim (p1)"},
		"of a pod that ends":      {bound: inPod, accounts: account("a1", 0), pods: pod("p1", 20*time.Second)},
		"of one that should have": {bound: inPod, accounts: account("a1", 0), pods: pod("p1", -2*time.Minute), says: errInvalidated.Error()},
		"a secret's":              {bound: identity.Bound{Secret: &corev1.Secret{ObjectMeta: meta("shop", "s", "s1", 0)}}, accounts: account("a1", 0), secrets: secret},
		"of another secret":       {bound: identity.Bound{Secret: &corev1.Secret{ObjectMeta: meta("shop", "s", "s0", 0)}}, accounts: account("a1", 0), secrets: secret, says: "secret UID (s1) does not match"},
		"a node's":                {bound: identity.Bound{Node: inPod.Node}, accounts: account("a1", 0), nodes: node},
		"of a node that is gone":  {bound: identity.Bound{Node: inPod.Node}, accounts: account("a1", 0), says: errInvalidated.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTokenSigner(t)
			known := &tokens{signer: s, now: func() time.Time { return now.Add(x.later) }, from: registry.Getters{
				Accounts: shelf{x.accounts, x.cachedAccounts}, Pods: shelf{stored: x.pods}, Secrets: shelf{stored: x.secrets}, Nodes: shelf{stored: x.nodes},
			}}
			if x.audiences == nil {
				x.audiences = apiAudiences()
			}
			sa := &corev1.ServiceAccount{ObjectMeta: meta("shop", "till", "a1", 0)}
			token, err := s.Sign(identity.New("system:serviceaccount:shop:till", sa, x.bound, x.audiences, 600, 0, now))
			if err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			if x.want != nil {
				ctx = authenticator.WithAudiences(ctx, x.want)
			}
			got, ok, err := known.AuthenticateToken(ctx, token)
			if x.says != "" {
				if ok || err == nil || !strings.Contains(err.Error(), x.says) {
					t.Errorf("%v %v, want %s", ok, err, x.says)
				}
				return
			}
			if err != nil || !ok {
				t.Fatalf("%v %v", ok, err)
			}
			if got.User.GetName() != "system:serviceaccount:shop:till" || got.User.GetUID() != "a1" || !slices.Equal(got.Audiences, x.audiences) {
				t.Errorf("got %+v for %v", got.User, got.Audiences)
			}
			if x.bound.Pod != nil && !slices.Equal(got.User.GetExtra()["authentication.kubernetes.io/pod-uid"], []string{"p1"}) {
				t.Errorf("told %v", got.User.GetExtra())
			}
		})
	}
}

func TestOthersTokensAreLeftToOthers(t *testing.T) {
	known := &tokens{signer: newTokenSigner(t), now: time.Now}
	foreign, err := newTokenSigner(t).Sign(identity.Claims{})
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"", "secret", foreign} {
		if got, ok, err := known.AuthenticateToken(t.Context(), token); got != nil || ok || err != nil && errors.Is(err, identity.ErrForeign) {
			t.Errorf("%q: %v %v %v", token, got, ok, err)
		}
	}
}
