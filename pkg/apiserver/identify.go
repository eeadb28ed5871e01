package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/server/mux"

	"github.com/carob-project/carob/pkg/identity"
	"github.com/carob-project/carob/pkg/registry/review"
	registry "github.com/carob-project/carob/pkg/registry/serviceaccount"
)

// The documents that tell others how to check tokens.
const (
	openIDPath = "/.well-known/openid-configuration"
	keySetPath = "/openid/v1/jwks"
)

// identify returns what recognises service accounts, and adds to what is served
// all that is about who somebody is.
func (s *Server) identify(all map[schema.GroupVersion]storageMap) (*tokens, error) {
	signer, err := identity.NewSigner(s.pki.Signing())
	if err != nil {
		return nil, err
	}
	core := all[corev1.SchemeGroupVersion]
	known := &tokens{signer: signer, now: time.Now}
	for resource, getter := range map[string]*rest.Getter{
		"serviceaccounts": &known.from.Accounts, "pods": &known.from.Pods,
		"secrets": &known.from.Secrets, "nodes": &known.from.Nodes,
	} {
		g, ok := core[resource].(rest.Getter)
		if !ok {
			return nil, fmt.Errorf("%s cannot be read", resource)
		}
		*getter = g
	}
	core["serviceaccounts/token"] = registry.NewTokenREST(known.from, signer)
	requests := group.NewAuthenticatedGroupAdder(bearertoken.New(known))
	all[authenticationv1.SchemeGroupVersion] = review.Authentication(requests, apiAudiences())
	all[authorizationv1.SchemeGroupVersion] = review.Authorization(authorizer.AuthorizerFunc(authorize))
	return known, nil
}

// openIDDocument is what an OpenID provider tells about itself.
type openIDDocument struct {
	Issuer        string   `json:"issuer"`
	KeySet        string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// serveIssuer serves the keys with which others check tokens.
func serveIssuer(m *mux.PathRecorderMux, signer *identity.Signer) error {
	keys, err := signer.KeySet()
	if err != nil {
		return err
	}
	about, err := json.Marshal(openIDDocument{
		Issuer: identity.Issuer, KeySet: identity.Issuer + keySetPath,
		ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"}, Algorithms: []string{string(identity.Algorithm)},
	})
	if err != nil {
		return err
	}
	for path, d := range map[string]struct {
		body []byte
		kind string
	}{
		openIDPath: {about, "application/json"},
		keySetPath: {keys, "application/jwk-set+json"},
	} {
		m.Handle(path, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", d.kind)
			w.Header().Set("Cache-Control", "public, max-age=3600")
			_, _ = w.Write(d.body) // the client has gone
		}))
	}
	return nil
}
