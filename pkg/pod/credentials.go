package pod

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Credential opens a part of a registry. It must never be logged.
type Credential struct {
	// Registry is a host, with a port and a path where those matter. Parts of
	// the host may hold patterns, as *.example.org.
	Registry string
	// Username and Password, or an IdentityToken alone.
	Username, Password, IdentityToken string
}

// PullOptions say how an image is pulled. The zero value is usable.
type PullOptions struct {
	// Credentials that match the image are tried in their order, the more
	// specific ones first; without one the registry is asked anonymously.
	Credentials []Credential
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
