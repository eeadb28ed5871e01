// Package identity checks that pods can prove to the API who they are: tokens in
// their volumes, the way from a container to the API, and what ends with a pod.
package identity

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

const mount = "/var/run/secrets/kubernetes.io/serviceaccount"

// pod makes a pod that sleeps, with the carob binary in it: inside a container
// that is a client of the API like any other.
func pod(c *harness.Carob, name, spec, container string) string {
	return `
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `}
spec:
  terminationGracePeriodSeconds: 0
  ` + spec + `
  containers:
    - name: main
      image: busybox:1.35
      command: [sleep, '100000']
      env: [{name: WHERE, value: "$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)"}]
      ` + container + `
      volumeMounts:
        - {name: carob, mountPath: /bin/carob, readOnly: true}
        - {name: more, mountPath: /more}
  volumes:
    - {name: carob, hostPath: {path: ` + c.Bin + `, type: File}}
    - name: more
      projected:
        sources:
          - serviceAccountToken: {path: vault/token, audience: vault, expirationSeconds: 600}
`
}

// exec returns what a command prints in a pod, without the end of its last line.
func exec(t *testing.T, c *harness.Carob, pod string, command ...string) string {
	t.Helper()
	return strings.TrimSuffix(c.K(t, append([]string{"exec", pod}, command...)...), "\n")
}

func TestIdentity(t *testing.T) {
	c := harness.Started(t)
	t.Run("the API is reached from within", func(t *testing.T) { inside(t, c) })
	t.Run("in the node's network", func(t *testing.T) { nodeNetwork(t, c) })
	t.Run("the files of tokens", func(t *testing.T) { files(t, c) })
	t.Run("whose service account", func(t *testing.T) { accounts(t, c) })
	t.Run("a token for somebody else", func(t *testing.T) { audience(t, c) })
	t.Run("a restart of carob", func(t *testing.T) { restart(t, c) })
	t.Run("nobody outlives the pod", func(t *testing.T) { revoked(t, c) })
}

// inside: a client in a container finds the API without being told, trusts it,
// is who it should be, and may do nothing.
func inside(t *testing.T, c *harness.Carob) {
	c.Apply(t, pod(c, "in", "", ""))
	c.WaitReady(t, "in")
	if got := exec(t, c, "in", "--", "carob", "auth", "whoami", "-o=jsonpath={.status.userInfo.username} {.status.userInfo.groups}"); got !=
		`system:serviceaccount:default:default ["system:serviceaccounts","system:serviceaccounts:default","system:authenticated"]` {
		t.Errorf("whoami: %s", got)
	}
	out, err := c.Kubectl("exec", "in", "--", "carob", "get", "pods")
	const forbidden = `Error from server (Forbidden): pods is forbidden: User "system:serviceaccount:default:default" cannot list resource "pods" in API group "" in the namespace "default"`
	if err == nil || !strings.Contains(out, forbidden) {
		t.Errorf("get pods: %s", out)
	}
	env := "\n" + exec(t, c, "in", "--", "env") + "\n"
	for _, want := range []string{
		"KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443", "KUBERNETES_SERVICE_PORT_HTTPS=443",
		"KUBERNETES_PORT=tcp://10.96.0.1:443", "KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1", "WHERE=10.96.0.1:443",
	} {
		if !strings.Contains(env, "\n"+want+"\n") {
			t.Errorf("no %s in %s", want, env)
		}
	}
	if got := exec(t, c, "in", "--", "cat", mount+"/namespace"); got != "default" {
		t.Errorf("namespace file: %q", got)
	}
	root := c.Get(t, "configmap", "kube-root-ca.crt", `{.data.ca\.crt}`)
	if got := exec(t, c, "in", "--", "cat", mount+"/ca.crt"); got != strings.TrimSuffix(root, "\n") || !strings.HasPrefix(root, "-----BEGIN CERTIFICATE") {
		t.Errorf("ca.crt: %q, configmap %q", got, root)
	}
	const volumes = `{range .spec.volumes[*]}{.name} {end}`
	if got := c.Get(t, "pod", "in", volumes); !strings.HasPrefix(got, "carob more kube-api-access-") {
		t.Errorf("volumes: %s", got)
	}
}

// nodeNetwork: there the API is where it listens.
func nodeNetwork(t *testing.T, c *harness.Carob) {
	c.Apply(t, pod(c, "host", "hostNetwork: true", ""))
	c.WaitReady(t, "host")
	if got := exec(t, c, "host", "--", "sh", "-c", "echo $WHERE"); got != c.Listen {
		t.Errorf("the API is at %q, not %q", got, c.Listen)
	}
	if got := exec(t, c, "host", "--", "carob", "auth", "whoami", `-o=jsonpath={.status.userInfo.extra.authentication\.kubernetes\.io/pod-name[0]}`); got != "host" {
		t.Errorf("whoami: %s", got)
	}
}

// files: a token may be read by everybody, unless the pod says whose it is.
func files(t *testing.T, c *harness.Carob) {
	for name, x := range map[string]struct{ spec, want string }{
		"plain": {"", "644 0:0"},
		"user":  {"securityContext: {runAsUser: 1001}", "600 1001:0"},
		"group": {"securityContext: {fsGroup: 2002}", "640 0:2002"},
		"both":  {"securityContext: {runAsUser: 1001, runAsGroup: 1001, fsGroup: 2002}", "640 1001:2002"},
	} {
		c.Apply(t, pod(c, name, x.spec, ""))
		c.WaitReady(t, name)
		for _, path := range []string{mount + "/token", "/more/vault/token"} {
			if got := exec(t, c, name, "--", "stat", "-L", "-c", "%a %u:%g", path); got != x.want {
				t.Errorf("%s: %s is %s, not %s", name, path, got, x.want)
			}
		}
		if out, err := c.Kubectl("exec", name, "--", "cat", mount+"/token"); err != nil {
			t.Errorf("%s cannot read its token: %s", name, out)
		}
		c.K(t, "delete", "pod", name)
	}
}

// accounts: a pod has the service account that it names, or is refused.
func accounts(t *testing.T, c *harness.Carob) {
	out, err := c.KubectlInput(pod(c, "nobody", "serviceAccountName: absent", ""), "create", "-f", "-")
	if want := `pods "nobody" is forbidden: error looking up service account default/absent: serviceaccount "absent" not found`; err == nil || !strings.Contains(out, want) {
		t.Errorf("%v: %s", err, out)
	}
	c.K(t, "create", "serviceaccount", "till")
	c.Apply(t, pod(c, "till", "serviceAccountName: till", ""))
	c.Apply(t, pod(c, "dumb", "automountServiceAccountToken: false", ""))
	c.WaitReady(t, "till")
	c.WaitReady(t, "dumb")
	if got := c.Get(t, "pod", "till", "{.spec.serviceAccountName} {.spec.serviceAccount}"); got != "till till" {
		t.Errorf("service account: %s", got)
	}
	if got := exec(t, c, "till", "--", "carob", "auth", "whoami", "-o=jsonpath={.status.userInfo.username}"); got != "system:serviceaccount:default:till" {
		t.Errorf("whoami: %s", got)
	}
	if out, err := c.Kubectl("exec", "dumb", "--", "ls", mount); err == nil {
		t.Errorf("a pod that wants no token has %s", out)
	}
	if out, err := c.Kubectl("create", "token", "till", "--duration=1s"); err == nil || !strings.Contains(out, "may not specify a duration less than 10 minutes") {
		t.Errorf("%v: %s", err, out)
	}
	token := strings.TrimSpace(c.K(t, "create", "token", "till", "--duration=20m"))
	if got := claims(t, token)["sub"]; got != "system:serviceaccount:default:till" {
		t.Errorf("sub: %v", got)
	}
	if got := c.K(t, "auth", "can-i", "list", "pods", "--as=x", "--as-group=system:masters"); got != "yes\n" {
		t.Errorf("can-i: %s", got)
	}
}

// claims is what a token says.
func claims(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no token", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func review(t *testing.T, c *harness.Carob, token, audiences string) string {
	t.Helper()
	out, err := c.KubectlInput("apiVersion: authentication.k8s.io/v1\nkind: TokenReview\nspec: {token: \""+token+"\", audiences: ["+audiences+"]}\n",
		"create", "-f", "-", "-o=jsonpath={.status.authenticated} {.status.user.username} {.status.audiences} {.status.error}")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

// audience: a token for one is nothing to another.
func audience(t *testing.T, c *harness.Carob) {
	token := exec(t, c, "in", "--", "cat", "/more/vault/token")
	got := claims(t, token)
	if a, _ := json.Marshal(got["aud"]); string(a) != `["vault"]` || got["exp"].(float64)-got["iat"].(float64) != 600 {
		t.Errorf("claims: %v", got)
	}
	if got := review(t, c, token, "vault"); got != `true system:serviceaccount:default:default ["vault"] ` {
		t.Errorf("for its audience: %s", got)
	}
	if got := review(t, c, token, ""); !strings.HasPrefix(got, ` `) && !strings.HasPrefix(got, "false ") || !strings.Contains(got, "is invalid for the target audiences") {
		t.Errorf("for the API: %s", got)
	}
	out, err := c.Kubectl("exec", "in", "--", "sh", "-c",
		`carob --server=https://$WHERE --certificate-authority=`+mount+`/ca.crt --token="$(cat /more/vault/token)" get pods`)
	if err == nil || !strings.Contains(out, "Unauthorized") && !strings.Contains(out, "logged in") {
		t.Errorf("%v: %s", err, out)
	}
}

// restart: tokens that were given out count afterwards too.
func restart(t *testing.T, c *harness.Carob) {
	before := exec(t, c, "in", "--", "cat", mount+"/token")
	c.Kill(t)
	c.Up(t)
	if got := review(t, c, before, ""); !strings.HasPrefix(got, "true system:serviceaccount:default:default ") {
		t.Errorf("after a restart: %s", got)
	}
	exec(t, c, "in", "--", "carob", "auth", "whoami")
}

// revoked: with the pod goes its token, and a pod of the same name is another.
func revoked(t *testing.T, c *harness.Carob) {
	token := exec(t, c, "till", "--", "cat", mount+"/token")
	if got := review(t, c, token, ""); !strings.HasPrefix(got, "true ") {
		t.Errorf("before: %s", got)
	}
	c.K(t, "delete", "pod", "till", "--wait")
	harness.Eventually(t, 5*time.Second, func() string {
		if got := review(t, c, token, ""); !strings.Contains(got, "service account token has been invalidated") {
			return "got " + got
		}
		return ""
	})
}
