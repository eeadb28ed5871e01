package input

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// askedFor answers with the password, where the question fits. It notes what it
// was asked, and how often.
const askedFor = `#!/bin/sh
question=$(cat)
echo "$question" >>'%[1]s/questions'
case "$question" in
*'"kind":"CredentialProviderRequest"'*'"image":"%[2]s/tools/busybox"'*) ;;
*) echo "what?" >&2; exit 1 ;;
esac
%[3]s
echo '{"kind": "CredentialProviderResponse", "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "cacheKeyType": "Registry", "auth": {"%[2]s": {"username": "me", "password": "open sesame"}}}'
`

// provider puts a plugin into dir, and returns its entry.
func provider(t *testing.T, dir, name, registry, first, more string) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, askedFor, dir, registry, first), 0o700); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("- {name: %s, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: ['%s'], defaultCacheDuration: 1h%s}\n", name, registry, more)
}

// recorded keeps the names of the users that were refused or let in.
func recorded(h http.Handler, users chan<- string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if user, password, ok := q.BasicAuth(); ok {
			select {
			case users <- user + ":" + password:
			default:
			}
		}
		h.ServeHTTP(w, q)
	})
}

func TestCredentialProviders(t *testing.T) {
	h := filled(t)
	users := make(chan string, 1000)
	open, byToken, hangs := serve(t, recorded(basic(h), users)), serve(t, basic(h)), serve(t, basic(h))
	dir := t.TempDir()
	entries := provider(t, dir, "helper", open, "", "") +
		provider(t, dir, "by-account", byToken, `case "$question" in *'"serviceAccountToken":"ey'*'"serviceAccountAnnotations":{"registry":"yes"}'*) ;; *) exit 1 ;; esac`,
			", tokenAttributes: {serviceAccountTokenAudience: registry, requireServiceAccount: true, cacheType: ServiceAccount, requiredServiceAccountAnnotationKeys: [registry]}") +
		provider(t, dir, "hangs", hangs, "sleep 7231 & setsid sleep 7231 & sleep 7231", "")
	file := filepath.Join(dir, "config.yaml")
	write := func(entries string) {
		if err := os.WriteFile(file, []byte("apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n"+entries), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := harness.New(t)
	c.Args = append(c.Args, "--image-credential-provider-config", file, "--image-credential-provider-bin-dir", dir)

	write(strings.Replace(entries, "defaultCacheDuration: 1h", "defaultCacheDuration: -1h", 1))
	if err := c.TryUp(); err == nil || !strings.Contains(c.Output(), "providers[0].defaultCacheDuration: Invalid value") {
		t.Fatalf("a configuration that is wrong: %v\n%s", err, c.Output())
	}
	write(entries)
	c.Up(t)

	// Secrets come first, then what the plugins know.
	c.Apply(t, pullSecret("wrong", open, "guessed")+podWith("helped", open+"/tools/busybox:1", "{name: wrong}"))
	c.WaitReady(t, "helped")
	if first := <-users; first != "me:guessed" {
		t.Errorf("the first who asked was %s", first)
	}
	// The image is for all pods of the node, and the answer is kept.
	c.Apply(t, podPulling("Never", "neighbour", open+"/tools/busybox:1", "")+"---\n"+podWith("again", open+"/tools/busybox:1", ""))
	c.WaitReady(t, "neighbour")
	c.WaitReady(t, "again")
	if data, err := os.ReadFile(filepath.Join(dir, "questions")); err != nil || strings.Count(string(data), open) != 1 {
		t.Errorf("%v: the plugin was asked %s", err, data)
	}

	c.Apply(t, podWith("stranger", byToken+"/tools/busybox:1", ""))
	waitingFor(t, c, "stranger", "ImagePullBackOff", "ErrImagePull")
	c.K(t, "create", "serviceaccount", "member")
	c.K(t, "annotate", "serviceaccount", "member", "registry=yes")
	member := strings.Replace(podWith("member", byToken+"/tools/busybox:1", ""), "spec: {", "spec: {serviceAccountName: member, ", 1)
	c.Apply(t, member)
	c.WaitReady(t, "member")
	// What an account has brought is for the pods of that account.
	c.Apply(t, podPulling("Never", "outsider", byToken+"/tools/busybox:1", ""))
	waitingFor(t, c, "outsider", "ErrImageNeverPull", "is not present with pull policy of Never")
	c.Apply(t, strings.NewReplacer("name: outsider", "name: insider", "spec: {", "spec: {serviceAccountName: member, ").
		Replace(podPulling("Never", "outsider", byToken+"/tools/busybox:1", "")))
	c.WaitReady(t, "insider")

	// A pod that goes takes a plugin that hangs with it, and all it started.
	c.Apply(t, podWith("stuck", hangs+"/tools/busybox:1", ""))
	sleepers := func() int {
		return len(harness.PIDs(t, func(line string) bool { return line == "sleep\x007231\x00" }))
	}
	harness.Eventually(t, 40*time.Second, func() string {
		if n := sleepers(); n != 3 {
			return fmt.Sprintf("%d processes of the plugin run", n)
		}
		return ""
	})
	c.K(t, "delete", "pod", "stuck")
	harness.Eventually(t, 40*time.Second, func() string {
		if n := sleepers(); n != 0 {
			return fmt.Sprintf("%d processes of the plugin live on", n)
		}
		return ""
	})
	if out := c.Output(); strings.Contains(out, "sesame") || strings.Contains(out, "serviceAccountToken") {
		t.Error("the log shows a secret")
	}
}
