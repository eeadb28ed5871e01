package apiserver_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/identity"
	"github.com/carob-project/carob/pkg/pki"
)

// makeAccount does what a controller does elsewhere.
func makeAccount(t *testing.T, i *instance, namespace, name string) *corev1.ServiceAccount {
	t.Helper()
	s := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	s, err := i.client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), s, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func makePod(t *testing.T, i *instance, name, node string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		NodeName: node, Containers: []corev1.Container{{Name: "a", Image: "i"}},
	}}
	p, err := i.client.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tokenFor(p *corev1.Pod, seconds int64) *authenticationv1.TokenRequest {
	return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID},
	}}
}

func makeToken(ctx context.Context, c kubernetes.Interface, req *authenticationv1.TokenRequest) (string, error) {
	made, err := c.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", req, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return made.Status.Token, nil
}

func (i *instance) bearer(t *testing.T, token string) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(&rest.Config{
		Host: i.URL(), BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: i.pki.CA()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func whoAmI(t *testing.T, c kubernetes.Interface) (authenticationv1.UserInfo, error) {
	t.Helper()
	r, err := c.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return r.Status.UserInfo, nil
}

func TestATokenIsThePods(t *testing.T) {
	i := start(t)
	p := makePod(t, i, "p", "n")
	token, err := makeToken(t.Context(), i.client, tokenFor(p, 600))
	if err != nil {
		t.Fatal(err)
	}
	me := i.bearer(t, token)
	u, err := whoAmI(t, me)
	if err != nil || u.Username != "system:serviceaccount:default:default" ||
		strings.Join(u.Groups, " ") != "system:serviceaccounts system:serviceaccounts:default system:authenticated" {
		t.Fatalf("%+v, %v", u, err)
	}
	for key, want := range map[string]string{
		"authentication.kubernetes.io/pod-name": "p", "authentication.kubernetes.io/pod-uid": string(p.UID),
		"authentication.kubernetes.io/node-name": "n",
	} {
		if got := u.Extra[key]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v", key, got)
		}
	}
	if got := u.Extra["authentication.kubernetes.io/credential-id"]; len(got) != 1 || !strings.HasPrefix(got[0], "JTI=") {
		t.Errorf("credential: %v", got)
	}
	_, err = me.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
	const forbidden = `secrets is forbidden: User "system:serviceaccount:default:default" cannot list resource "secrets" in API group "" in the namespace "default"`
	if err == nil || err.Error() != forbidden {
		t.Errorf("%v", err)
	}
	// The pod goes, and another of its name comes.
	if err := i.client.CoreV1().Pods("default").Delete(t.Context(), "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	awaitUnauthorized(t, me)
	makePod(t, i, "p", "n")
	awaitUnauthorized(t, me)
}

func awaitUnauthorized(t *testing.T, c kubernetes.Interface) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		_, err := whoAmI(t, c)
		if apierrors.IsUnauthorized(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still known: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestATokenEndsWithItsServiceAccount(t *testing.T) {
	i := start(t)
	s := makeAccount(t, i, "default", "till")
	made, err := i.client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "till", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil || len(made.Spec.Audiences) != 1 || made.Spec.Audiences[0] != identity.Issuer || *made.Spec.ExpirationSeconds != 3600 {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := whoAmI(t, i.bearer(t, made.Status.Token)); err != nil {
		t.Fatal(err)
	}
	if err := i.client.CoreV1().ServiceAccounts("default").Delete(t.Context(), s.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitUnauthorized(t, i.bearer(t, made.Status.Token))
	makeAccount(t, i, "default", "till")
	awaitUnauthorized(t, i.bearer(t, made.Status.Token))
}

func TestANodeMakesTokensOfItsOwnPods(t *testing.T) {
	i := start(t)
	node := i.as(t, pki.NodeUser("n"), pki.GroupNodes)
	mine, others := makePod(t, i, "mine", "n"), makePod(t, i, "others", "m")
	unbound := tokenFor(mine, 600)
	unbound.Spec.BoundObjectRef = nil
	vague := tokenFor(mine, 600)
	vague.Spec.BoundObjectRef.UID = ""
	former := tokenFor(mine, 600)
	former.Spec.BoundObjectRef.UID = "0"
	if _, err := makeToken(t.Context(), node, tokenFor(mine, 600)); err != nil {
		t.Errorf("its own: %v", err)
	}
	for want, req := range map[string]*authenticationv1.TokenRequest{
		"node requested token bound to a pod scheduled on a different node": tokenFor(others, 600),
		"node requested token not bound to a pod":                           unbound,
		"node requested token with a pod binding without a uid":             vague,
		"the UID in the bound object reference (0) does not match":          former,
	} {
		if _, err := makeToken(t.Context(), node, req); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestWhatTokensCannotBe(t *testing.T) {
	i := start(t)
	p := makePod(t, i, "p", "n")
	makeAccount(t, i, "default", "till")
	foreign := tokenFor(p, 600)
	foreign.Spec.BoundObjectRef.Kind = "ConfigMap"
	former := tokenFor(p, 600)
	former.Spec.BoundObjectRef.UID = "0"
	for want, req := range map[string]*authenticationv1.TokenRequest{
		"may not specify a duration less than 10 minutes":                             tokenFor(p, 599),
		"may not specify a duration larger than 2^32 seconds":                         tokenFor(p, 1<<32+1),
		"cannot bind token to object of type /v1, Kind=ConfigMap":                     foreign,
		"does not match the UID in record. The object might have been deleted and th": former,
	} {
		if _, err := makeToken(t.Context(), i.client, req); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	_, err := i.client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "till", tokenFor(p, 600), metav1.CreateOptions{})
	if want := `cannot bind token for serviceaccount "till" to pod running with different serviceaccount name.`; !apierrors.IsBadRequest(err) || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestAPodWithoutItsServiceAccountIsRefused(t *testing.T) {
	i := start(t)
	pods := i.client.CoreV1().Pods("default")
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{
		ServiceAccountName: "x", Containers: []corev1.Container{{Name: "a", Image: "i"}},
	}}
	_, err := pods.Create(t.Context(), p, metav1.CreateOptions{})
	const want = `pods "p" is forbidden: error looking up service account default/x: serviceaccount "x" not found`
	if !apierrors.IsForbidden(err) || err.Error() != want {
		t.Errorf("%v", err)
	}
	// The one that every namespace gets is waited for.
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fresh"}}
	if _, err := i.client.CoreV1().Namespaces().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	made := make(chan error, 1)
	go func() {
		p.Spec.ServiceAccountName = ""
		_, err := i.client.CoreV1().Pods("fresh").Create(t.Context(), p, metav1.CreateOptions{})
		made <- err
	}()
	select {
	case err := <-made:
		t.Fatalf("not waited: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	makeAccount(t, i, "fresh", "default")
	if err := <-made; err != nil {
		t.Error(err)
	}
}

func TestWhoMayDoWhatCanBeAsked(t *testing.T) {
	i := start(t)
	reviews := i.client.AuthorizationV1()
	ask := func(user string, groups ...string) bool {
		r, err := reviews.SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user, Groups: groups, ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods"},
		}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status.Allowed
	}
	if ask("somebody") || !ask("anybody", "system:masters") || !ask("system:kube-scheduler") {
		t.Error("the answers differ from the rules")
	}
	_, err := reviews.SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{}, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "exactly one of nonResourceAttributes or resourceAttributes must be specified") {
		t.Errorf("%v", err)
	}
}

func TestOthersCanCheckTokens(t *testing.T) {
	i := start(t)
	token, err := makeToken(t.Context(), i.client, &authenticationv1.TokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/.well-known/openid-configuration": `"jwks_uri":"https://kubernetes.default.svc.cluster.local/openid/v1/jwks"`,
		"/openid/v1/jwks":                   `"alg":"ES256"`,
	} {
		body, err := i.bearer(t, token).Discovery().RESTClient().Get().AbsPath(path).DoRaw(t.Context())
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s, %v", path, body, err)
		}
		if strings.Contains(string(body), `"d":`) {
			t.Errorf("%s gives the private key away", path)
		}
	}
	client, err := rest.HTTPClientFor(&rest.Config{Host: i.URL(), TLSClientConfig: rest.TLSClientConfig{CAData: i.pki.CA()}})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get(i.URL() + "/openid/v1/jwks")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("anonymous: %s", resp.Status)
	}
}
