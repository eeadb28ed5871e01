package serviceaccount

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/identity"
)

// shelf is a store that holds one object.
type shelf struct{ obj runtime.Object }

func (s shelf) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	if m, ok := s.obj.(metav1.Object); ok && m.GetName() == name {
		return s.obj, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, name)
}

func meta(name string, uid types.UID) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: uid}
}

func tokens(t *testing.T) (*TokenREST, *identity.Signer) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := identity.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	r := NewTokenREST(Getters{
		Accounts: shelf{&corev1.ServiceAccount{ObjectMeta: meta("till", "u1")}},
		Pods:     shelf{&corev1.Pod{ObjectMeta: meta("p", "u2"), Spec: corev1.PodSpec{ServiceAccountName: "till", NodeName: "n"}}},
		Secrets:  shelf{&corev1.Secret{ObjectMeta: meta("s", "u3")}},
		Nodes:    shelf{&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u4"}}},
	}, signer)
	r.now = func() time.Time { return time.Unix(1_800_000_000, 0) }
	return r, signer
}

func ask(t *testing.T, r *TokenREST, account string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	t.Helper()
	out, err := r.Create(genericrequest.WithNamespace(t.Context(), "shop"), account, req, nil, nil)
	if err != nil {
		return nil, err
	}
	return out.(*authenticationv1.TokenRequest), nil
}

func refTo(kind, name string, uid types.UID) *authenticationv1.BoundObjectReference {
	return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name, UID: uid}
}

func TestATokenIsForWhatWasAsked(t *testing.T) {
	r, signer := tokens(t)
	for _, tc := range []struct {
		name    string
		spec    authenticationv1.TokenRequestSpec
		seconds int64 // of the token
		told    int64 // of the answer
		warn    bool
	}{
		{"nothing said", authenticationv1.TokenRequestSpec{}, 3600, 3600, false},
		{"an hour for a pod", authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](3600), BoundObjectRef: refTo("Pod", "p", "u2")}, 3600, 3600, false},
		{
			"what every pod gets",
			authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](identity.InjectedSeconds), BoundObjectRef: refTo("Pod", "p", "")},
			identity.ExtendedSeconds, identity.InjectedSeconds, true,
		},
		{
			"the same for another audience",
			authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}, ExpirationSeconds: ptr.To[int64](identity.InjectedSeconds), BoundObjectRef: refTo("Pod", "p", "")},
			identity.InjectedSeconds, identity.InjectedSeconds, false,
		},
		{"with a secret", authenticationv1.TokenRequestSpec{BoundObjectRef: refTo("Secret", "s", "u3")}, 3600, 3600, false},
		{"with a node", authenticationv1.TokenRequestSpec{BoundObjectRef: refTo("Node", "n", "u4")}, 3600, 3600, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := ask(t, r, "till", &authenticationv1.TokenRequest{Spec: tc.spec})
			if err != nil {
				t.Fatal(err)
			}
			claims, err := signer.Read(out.Status.Token)
			if err != nil {
				t.Fatal(err)
			}
			if claims.Subject != "system:serviceaccount:shop:till" {
				t.Errorf("subject %q", claims.Subject)
			}
			if got := claims.Expiry.Time().Unix() - r.now().Unix(); got != tc.seconds {
				t.Errorf("good for %d s, want %d", got, tc.seconds)
			}
			if got := out.Status.ExpirationTimestamp.Unix() - r.now().Unix(); got != tc.told {
				t.Errorf("said to be good for %d s, want %d", got, tc.told)
			}
			if (claims.Private.WarnAfter != nil) != tc.warn {
				t.Errorf("warns: %+v", claims.Private.WarnAfter)
			}
			if out.Name != "till" || out.Namespace != "shop" || out.UID != "u1" {
				t.Errorf("metadata %+v", out.ObjectMeta)
			}
		})
	}
}

func TestATokenThatIsNotGiven(t *testing.T) {
	r, _ := tokens(t)
	for _, tc := range []struct {
		account string
		req     authenticationv1.TokenRequest
		want    string
	}{
		{"other", authenticationv1.TokenRequest{}, `things "other" not found`},
		{"till", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, "must match the service account name if specified"},
		{"till", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "x"}}, "must match the service account namespace if specified"},
		{"till", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{UID: "x"}}, "the UID in the token request (x) does not match the UID of the service account (u1)"},
		{"till", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](599)}}, "may not specify a duration less than 10 minutes"},
		{"till", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](1<<32 + 1)}}, "may not specify a duration larger than 2^32 seconds"},
		{"till", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: refTo("Pod", "q", "")}}, `things "q" not found`},
		{"till", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: refTo("Pod", "p", "old")}}, "the UID in the bound object reference (old) does not match the UID in record"},
		{"till", authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: refTo("ConfigMap", "c", "")}}, "cannot bind token to object of type"},
	} {
		if _, err := ask(t, r, tc.account, &tc.req); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %s", tc.req, err, tc.want)
		}
	}
	r.from.Pods = shelf{&corev1.Pod{ObjectMeta: meta("p", "u2"), Spec: corev1.PodSpec{ServiceAccountName: "other"}}}
	_, err := ask(t, r, "till", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: refTo("Pod", "p", "")}})
	if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), `cannot bind token for serviceaccount "till" to pod running with different serviceaccount name.`) {
		t.Errorf("a pod of another account: %v", err)
	}
}
