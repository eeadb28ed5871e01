package secret

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func data(pairs ...string) map[string][]byte {
	m := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = []byte(pairs[i+1])
	}
	return m
}

func TestSetDefaults(t *testing.T) {
	s := &corev1.Secret{Data: data("a", "old", "b", "kept"), StringData: map[string]string{"a": "new"}}
	SetDefaults(s)
	want := &corev1.Secret{Type: corev1.SecretTypeOpaque, Data: data("a", "new", "b", "kept")}
	if d := cmp.Diff(want, s); d != "" {
		t.Error(d)
	}
	SetDefaults(s)
	if d := cmp.Diff(want, s); d != "" {
		t.Errorf("the second time:\n%s", d)
	}
}

func TestValidate(t *testing.T) {
	token := metav1.ObjectMeta{Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}}
	for name, c := range map[string]struct {
		secret corev1.Secret
		want   []string
	}{
		"opaque":               {corev1.Secret{Type: "Opaque", Data: data("k", "v")}, nil},
		"own type":             {corev1.Secret{Type: "example.com/x"}, nil},
		"key":                  {corev1.Secret{Data: data("a/b", "v")}, []string{"data[a/b]"}},
		"too large":            {corev1.Secret{Data: data("k", strings.Repeat("x", corev1.MaxSecretSize+1))}, []string{"data"}},
		"tls":                  {corev1.Secret{Type: corev1.SecretTypeTLS, Data: data("tls.crt", "", "tls.key", "")}, nil},
		"tls without a key":    {corev1.Secret{Type: corev1.SecretTypeTLS, Data: data("tls.crt", "")}, []string{"data[tls.key]"}},
		"docker config":        {corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: data(".dockerconfigjson", "{}")}, nil},
		"docker config absent": {corev1.Secret{Type: corev1.SecretTypeDockerConfigJson}, []string{"data[.dockerconfigjson]"}},
		"docker config no JSON": {
			corev1.Secret{Type: corev1.SecretTypeDockercfg, Data: data(".dockercfg", "x")}, []string{"data[.dockercfg]"},
		},
		"basic auth":        {corev1.Secret{Type: corev1.SecretTypeBasicAuth, Data: data("password", "p")}, nil},
		"basic auth, empty": {corev1.Secret{Type: corev1.SecretTypeBasicAuth}, []string{"data[username]", "data[password]"}},
		"ssh":               {corev1.Secret{Type: corev1.SecretTypeSSHAuth, Data: data("ssh-privatekey", "k")}, nil},
		"ssh, empty key":    {corev1.Secret{Type: corev1.SecretTypeSSHAuth, Data: data("ssh-privatekey", "")}, []string{"data[ssh-privatekey]"}},
		"token":             {corev1.Secret{Type: corev1.SecretTypeServiceAccountToken, ObjectMeta: token}, nil},
		"token of no account": {
			corev1.Secret{Type: corev1.SecretTypeServiceAccountToken}, []string{"metadata.annotations[kubernetes.io/service-account.name]"},
		},
	} {
		var got []string
		for _, e := range Validate(&c.secret) {
			got = append(got, e.Field)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

func TestValidateUpdate(t *testing.T) {
	yes := true
	old := &corev1.Secret{Type: "Opaque", Data: data("k", "v"), Immutable: &yes}
	now := &corev1.Secret{Type: "x", Data: data("k", "w")}
	if got := validateUpdate(now, old); len(got) != 3 {
		t.Errorf("got %v", got)
	}
	if got := validateUpdate(old, old); len(got) != 0 {
		t.Errorf("unchanged: %v", got)
	}
}
