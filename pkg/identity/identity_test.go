package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func signer(t testing.TB) *Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func account() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "till", UID: "u1"}}
}

func TestATokenSaysWhatWasSigned(t *testing.T) {
	s, now := signer(t), time.Unix(1_800_000_000, 0)
	bound := Bound{
		Pod:  &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u2"}},
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u3"}},
	}
	token, err := s.Sign(New("system:serviceaccount:shop:till", account(), bound, []string{Issuer}, ExtendedSeconds, InjectedSeconds, now))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(payload, &got); err != nil {
		t.Fatal(err)
	}
	if got["jti"] == "" {
		t.Error("the token has no ID")
	}
	delete(got, "jti")
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"aud":["https://kubernetes.default.svc.cluster.local"],"exp":1831536000,"iat":1800000000,` +
		`"iss":"https://kubernetes.default.svc.cluster.local","kubernetes.io":{"namespace":"shop",` +
		`"node":{"name":"n","uid":"u3"},"pod":{"name":"p","uid":"u2"},"serviceaccount":{"name":"till","uid":"u1"},` +
		`"warnafter":1800003607},"nbf":1800000000,"sub":"system:serviceaccount:shop:till"}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	c, err := s.Read(token)
	if err != nil || c.Private.Pod.UID != "u2" || c.Private.Secret != nil || c.Subject != "system:serviceaccount:shop:till" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestOthersTokensAreRefused(t *testing.T) {
	s, now := signer(t), time.Now()
	c := New("system:serviceaccount:shop:till", account(), Bound{}, []string{Issuer}, 600, 0, now)
	good, err := s.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	c.Subject = "system:serviceaccount:shop:boss"
	forged, err := signer(t).Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	other := strings.Join([]string{parts[0], base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"x"}`)), parts[2]}, ".")
	for name, c := range map[string]struct {
		token   string
		foreign bool
	}{
		"another key":      {forged, false},
		"no signature":     {unsigned, true},
		"another issuer":   {other, true},
		"not a token":      {"secret", true},
		"empty":            {"", true},
		"changed contents": {parts[0] + "." + strings.Split(forged, ".")[1] + "." + parts[2], false},
	} {
		_, err := s.Read(c.token)
		if err == nil || errors.Is(err, ErrForeign) != c.foreign {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Read(good); err != nil {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	now := time.Now()
	c := New("s", account(), Bound{}, nil, 600, 0, now)
	for after, want := range map[time.Duration]error{
		-2 * time.Minute:  ErrNotYetValid,
		-30 * time.Second: nil,
		0:                 nil,
		10 * time.Minute:  nil,
		12 * time.Minute:  ErrExpired,
	} {
		if err := c.Check(now.Add(after)); !errors.Is(err, want) {
			t.Errorf("%s: %v", after, err)
		}
	}
	for name, c := range map[string]struct {
		deleted time.Time
		want    bool
	}{
		"not deleted": {}, "ends": {deleted: now.Add(10 * time.Second)}, "just over": {deleted: now.Add(-50 * time.Second)},
		"overdue": {deleted: now.Add(-61 * time.Second), want: true},
	} {
		if got := Outdated(c.deleted, now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// FuzzRead: whatever a client sends is refused, never a panic.
func FuzzRead(f *testing.F) {
	s := signer(f)
	good, err := s.Sign(New("s", account(), Bound{}, nil, 600, 0, time.Unix(1_800_000_000, 0)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		if c, err := s.Read(token); err == nil && c.Issuer != Issuer {
			t.Errorf("%q was taken", token)
		}
	})
}
