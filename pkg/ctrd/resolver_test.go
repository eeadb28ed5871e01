package ctrd

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/carob-project/carob/pkg/pod"
)

// guardedRegistry lets in who has the password, and counts who else came.
type guardedRegistry struct {
	mu     sync.Mutex
	others int
}

func (g *guardedRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); user != "me" || password != "right" {
		g.mu.Lock()
		g.others++
		g.mu.Unlock()
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("ab", 32))
	w.Header().Set("Content-Length", "2")
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte("{}"))
	}
}

func TestCredentialsAreTriedInTurn(t *testing.T) {
	registry := &guardedRegistry{}
	server := httptest.NewServer(registry)
	defer server.Close()
	name := strings.TrimPrefix(server.URL, "http://") + "/app:1"
	r := &Runtime{}
	wrong, right := pod.Credential{Username: "me", Password: "wrong"}, pod.Credential{Username: "me", Password: "right"}
	for _, tc := range []struct {
		name        string
		credentials []pod.Credential
		ok          bool
	}{
		{"none", nil, false},
		{"a wrong one", []pod.Credential{wrong}, false},
		{"the right one", []pod.Credential{right}, true},
		{"the right one after a wrong one", []pod.Credential{wrong, right}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resolver, _, err := r.resolve(t.Context(), name, tc.credentials)
			if (err == nil) != tc.ok || tc.ok && resolver == nil {
				t.Errorf("let in: %v, want %v", err, tc.ok)
			}
		})
	}
	if registry.others == 0 {
		t.Error("the registry let everybody in")
	}
}

func TestSecretOfACredential(t *testing.T) {
	for _, tc := range []struct {
		c            *pod.Credential
		user, secret string
	}{
		{nil, "", ""},
		{&pod.Credential{Username: "u", Password: "p"}, "u", "p"},
		{&pod.Credential{Username: "u", Password: "p", IdentityToken: "t"}, "", "t"},
	} {
		if user, secret, err := secretOf(tc.c); err != nil || user != tc.user || secret != tc.secret {
			t.Errorf("%+v: %q %q %v", tc.c, user, secret, err)
		}
	}
}
