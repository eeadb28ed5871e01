package input

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/carob-project/carob/e2e/harness"
	"github.com/carob-project/carob/internal/testimage"
)

// filled is a registry that holds tools/busybox:1, without a door.
func filled(t *testing.T) http.Handler {
	t.Helper()
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(h)
	defer s.Close()
	img, err := testimage.Build(testimage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	push(t, s.URL+"/v2/tools/busybox", "1", img)
	return h
}

func serve(t *testing.T, h http.Handler) (address string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// basic lets in who has the password.
func basic(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if user, password, _ := q.BasicAuth(); user != "me" || password != "open sesame" {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, q)
	})
}

// bearer lets in who has a token, which is given to who has the password.
func bearer(h http.Handler) http.Handler {
	const token = "a-token"
	door := basic(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"token": %q, "expires_in": 300}`, token)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch {
		case q.URL.Path == "/token":
			door.ServeHTTP(w, q)
		case q.Header.Get("Authorization") != "Bearer "+token:
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="registry",scope="repository:tools/busybox:pull"`, q.Host))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			h.ServeHTTP(w, q)
		}
	})
}

// stalled answers everything but the layers.
func stalled(t *testing.T, h http.Handler) http.Handler {
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/blobs/") {
			select {
			case <-end:
			case <-q.Context().Done():
			}
			return
		}
		h.ServeHTTP(w, q)
	})
}

func pullSecret(name, host, password string) string {
	config := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host, base64.StdEncoding.EncodeToString([]byte("me:"+password)))
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: '%s'}\n---\n", name, config)
}

func podWith(name, image, secrets string) string { return podPulling("Always", name, image, secrets) }

func podPulling(policy, name, image, secrets string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {terminationGracePeriodSeconds: 0, imagePullSecrets: [%s], containers: [{name: a, image: '%s', imagePullPolicy: %s, command: [sleep, '100000']}]}\n", name, secrets, image, policy)
}

func TestPrivateRegistries(t *testing.T) {
	h := filled(t)
	plain, token, slow := serve(t, basic(h)), serve(t, bearer(h)), serve(t, stalled(t, h))
	c := harness.New(t)
	c.Args = append(c.Args, "--registry-config-dir", mirrored(t, h), "--max-parallel-pulls", "1")
	c.Up(t)

	c.Apply(t, onePod("stuck", slow+"/tools/busybox:1", ""))
	eventsSay(t, c, "stuck", "Pulling ")
	c.Apply(t, pullSecret("right", plain+"/tools", "open sesame")+podWith("password", plain+"/tools/busybox:1", "{name: right}"))
	c.WaitReady(t, "password") // beside the one that is stuck
	c.Apply(t, pullSecret("bearer", "http://"+token+"/v2/", "open sesame")+
		podWith("token", token+"/tools/busybox:1", "{name: bearer}, {name: missing}"))
	c.WaitReady(t, "token")

	c.Apply(t, pullSecret("wrong", plain, "guessed")+podWith("closed", plain+"/tools/busybox:1", "{name: wrong}, {name: missing}"))
	waitingFor(t, c, "closed", "ImagePullBackOff", "ErrImagePull", "authoriz")
	eventsSay(t, c, "closed", "FailedToRetrieveImagePullSecret Unable to retrieve some image pull secrets (missing); attempting to pull the image may not succeed.")
	// A secret that was not needed is not missed.
	if got, err := c.Kubectl("get", "events", "--field-selector", "involvedObject.name=token,reason=FailedToRetrieveImagePullSecret", "-o", "name"); err != nil || got != "" {
		t.Errorf("a pull that succeeded: %s %v", got, err)
	}
	image := plain + "/tools/busybox:1"
	// What a credential has brought is only for those who have one that fits.
	c.Apply(t, pullSecret("same", plain+"/tools", "open sesame")+podPulling("Never", "heir", image, "{name: same}"))
	c.WaitReady(t, "heir")
	c.Apply(t, podPulling("IfNotPresent", "curious", image, ""))
	waitingFor(t, c, "curious", "ImagePullBackOff", "ErrImagePull", "authoriz")
	c.Apply(t, podPulling("Never", "blind", image, "{name: wrong}"))
	waitingFor(t, c, "blind", "ErrImageNeverPull", "is not present with pull policy of Never")
	c.Apply(t, podWith("anonymous", token+"/tools/busybox:1", ""))
	waitingFor(t, c, "anonymous", "ImagePullBackOff", "ErrImagePull")

	c.Apply(t, podWith("mirror", "registry.example/tools/busybox:1", ""))
	c.WaitReady(t, "mirror")
	if id := c.Get(t, "pod", "mirror", "{.status.containerStatuses[0].imageID}"); !strings.HasPrefix(id, "registry.example/tools/busybox@sha256:") {
		t.Errorf("imageID %q", id)
	}
	if out := c.Output(); strings.Contains(out, "sesame") {
		t.Error("the log shows a password")
	}
}

// mirrored returns a directory whose hosts.toml sends registry.example to a
// server with a certificate of its own authority.
func mirrored(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	root := t.TempDir()
	dir := filepath.Join(root, "registry.example")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	hosts := fmt.Sprintf("server = \"https://registry.example\"\n\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"ca.pem\"\n", s.URL)
	if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(hosts), 0o600); err != nil {
		t.Fatal(err)
	}
	return root
}
