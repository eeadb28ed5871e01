package pod

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func secret(typ corev1.SecretType, key, text string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s"}, Type: typ, Data: map[string][]byte{key: []byte(text)}}
}

func TestCredentials(t *testing.T) {
	auth := base64.StdEncoding.EncodeToString([]byte("me:pass:word"))
	got, err := Credentials([]*corev1.Secret{
		secret(corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey,
			`{"auths": {"b.example": {"username": "u", "password": "p"}, "a.example/team": {"auth": "`+auth+`", "username": "ignored"}}}`),
		secret(corev1.SecretTypeDockercfg, corev1.DockerConfigKey, `{"https://c.example/v1/": {"identitytoken": "t"}}`),
		secret(corev1.SecretTypeOpaque, "x", "y"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Credential{
		{Registry: "a.example/team", Username: "me", Password: "pass:word"},
		{Registry: "b.example", Username: "u", Password: "p"},
		{Registry: "https://c.example/v1/", IdentityToken: "t"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestBadSecretsAreNamedAndNotQuoted(t *testing.T) {
	got, err := Credentials([]*corev1.Secret{
		secret(corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey, `{"auths": {"a": {"password": hunter2}}}`),
		secret(corev1.SecretTypeDockercfg, corev1.DockerConfigKey, `{"b": {"auth": "aHVudGVyMg=="}, "c": {"username": "u"}}`),
	})
	if err == nil || !strings.Contains(err.Error(), "secret n/s") || strings.Contains(err.Error(), "hunter") {
		t.Errorf("error: %v", err)
	}
	if len(got) != 1 || got[0].Username != "u" {
		t.Errorf("what is good of the rest: %v", got)
	}
}

func TestWhoMayUseAnImage(t *testing.T) {
	c := Credential{Secret: "uid", Registry: "r.example", Username: "u", Password: "p"}
	renamed, changed, other := c, c, Credential{Secret: "other", Registry: "r.example", Username: "u", Password: "q"}
	renamed.Secret, changed.Password = "another", "new"
	given := Credential{Account: "account", Registry: "r.example", Password: "t"}
	renewed, foreign := given, given
	renewed.Password, foreign.Account, foreign.Password = "n", "foreign", "f"
	nobodys := c
	nobodys.Secret = ""
	for name, x := range map[string]struct {
		keys string
		have []Credential
		want bool
	}{
		"open to all":               {"", nil, true},
		"without a credential":      {c.Key(), nil, false},
		"with the same":             {c.Key(), []Credential{other, c}, true},
		"that says the same":        {c.Key(), []Credential{renamed}, true},
		"of the same Secret":        {c.Key(), []Credential{changed}, true},
		"with another":              {c.Key(), []Credential{other}, false},
		"one of several":            {other.Key() + " " + c.Key(), []Credential{renamed}, true},
		"of the same account":       {given.Key(), []Credential{renewed}, true},
		"of another account":        {given.Key(), []Credential{foreign}, false},
		"of no Secret, like a pull": {nobodys.Key(), []Credential{{Registry: "x"}}, false},
	} {
		if got := (Image{Keys: x.keys}).OpenTo(x.have); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v %v", c, c, []Credential{c}), c.Key()} {
		if strings.Contains(text, "p\"") || strings.Contains(text, "Password") || strings.Contains(text, "u p") {
			t.Errorf("shown: %s", text)
		}
	}
}
