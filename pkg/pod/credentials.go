package pod

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Credential opens a part of a registry. It must never be logged: printed it
// shows where it is from, and no more.
type Credential struct {
	// Secret is the one it was read from, Account the service account that it
	// was given for; empty for none.
	Secret, Account types.UID
	// Node: all pods of the node may use what it opens.
	Node bool
	// Registry is a host, with a port and a path where those matter. Parts of
	// the host may hold patterns, as *.example.org.
	Registry string
	// Username and Password, or an IdentityToken alone.
	Username, Password, IdentityToken string
}

// String hides what must not be seen.
func (c Credential) String() string { return "credential for " + c.Registry }

// GoString is String.
func (c Credential) GoString() string { return c.String() }

// Key marks an image that was pulled with the credential, without showing it:
// the UID of the Secret or of the account, and a part of a hash of what it says.
func (c Credential) Key() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", c.Registry, c.Username, c.Password, c.IdentityToken))
	return string(cmp.Or(c.Secret, c.Account)) + keyJoint + hex.EncodeToString(sum[:keyBytes])
}

const (
	keyJoint = "/"
	keyBytes = 12
)

// OpenTo says whether a pod with these credentials may use the image as it is
// on the node: everybody may use one without keys, and who has the Secret or
// the account that it was pulled with, or a credential that says the same.
func (i Image) OpenTo(credentials []Credential) bool {
	keys := strings.Fields(i.Keys)
	for _, c := range credentials {
		owner, hash, _ := strings.Cut(c.Key(), keyJoint)
		for _, key := range keys {
			o, h, _ := strings.Cut(key, keyJoint)
			if h == hash || owner != "" && o == owner {
				return true
			}
		}
	}
	return len(keys) == 0
}

// PullOptions say how an image is pulled. The zero value is usable.
type PullOptions struct {
	// Credentials that match the image are tried in their order, the more
	// specific ones first; without one the registry is asked anonymously.
	Credentials []Credential
	// Provided are tried likewise after all of those.
	Provided []Credential
	// Progress may be nil; it is called from any goroutine with a short text,
	// at most once a second.
	Progress func(string)
}

// registryAuth is one entry of a docker configuration.
type registryAuth struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
}

// errAuth hides what the decoder would quote of a secret.
var errAuth = errors.New("is no docker configuration")

// Credentials reads the credentials out of Secrets of the types
// kubernetes.io/dockerconfigjson and kubernetes.io/dockercfg. Others hold none.
// What can be read is returned also with an error, which names the Secrets
// that cannot.
func Credentials(secrets []*corev1.Secret) ([]Credential, error) {
	var all []Credential
	var errs []error
	for _, s := range secrets {
		auths, err := authsOf(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("secret %s/%s: %w", s.Namespace, s.Name, err))
			continue
		}
		for _, registry := range slices.Sorted(maps.Keys(auths)) {
			c, err := auths[registry].credential(registry)
			if err != nil {
				errs = append(errs, fmt.Errorf("secret %s/%s: %w", s.Namespace, s.Name, err))
				continue
			}
			c.Secret = s.UID
			all = append(all, c)
		}
	}
	return all, errors.Join(errs...)
}

func authsOf(s *corev1.Secret) (map[string]registryAuth, error) {
	switch s.Type {
	case corev1.SecretTypeDockerConfigJson:
		var file struct {
			Auths map[string]registryAuth `json:"auths"`
		}
		if json.Unmarshal(s.Data[corev1.DockerConfigJsonKey], &file) != nil {
			return nil, errAuth
		}
		return file.Auths, nil
	case corev1.SecretTypeDockercfg:
		var auths map[string]registryAuth
		if json.Unmarshal(s.Data[corev1.DockerConfigKey], &auths) != nil {
			return nil, errAuth
		}
		return auths, nil
	}
	return nil, nil
}

// credential: auth is user and password in one, and wins over both.
func (a registryAuth) credential(registry string) (Credential, error) {
	c := Credential{Registry: registry, Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken}
	if a.Auth == "" {
		return c, nil
	}
	plain, err := base64.StdEncoding.DecodeString(a.Auth)
	if err != nil {
		if plain, err = base64.RawStdEncoding.DecodeString(a.Auth); err != nil {
			return c, errAuth
		}
	}
	user, password, ok := strings.Cut(string(plain), ":")
	if !ok {
		return c, errAuth
	}
	c.Username, c.Password = user, strings.TrimRight(password, "\x00")
	return c, nil
}
