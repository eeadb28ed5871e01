package identity

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Issuer is who signs tokens, and the audience of those that are meant for the
// API itself.
const Issuer = "https://kubernetes.default.svc.cluster.local"

// Algorithm is how tokens are signed.
const Algorithm = jose.ES256

// ErrForeign: a token was not made by this signer, or is none at all.
var ErrForeign = errors.New("not a token of this issuer")

// Signer makes and reads tokens of one issuer. It is safe for concurrent use.
type Signer struct {
	public jose.JSONWebKey
	signer jose.Signer
}

// NewSigner returns a Signer with a key on the curve P-256.
func NewSigner(key *ecdsa.PrivateKey) (*Signer, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	sum := sha256.Sum256(der)
	private := jose.JSONWebKey{
		Key: key, KeyID: base64.RawURLEncoding.EncodeToString(sum[:]), Algorithm: string(Algorithm), Use: "sig",
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: Algorithm, Key: private}, nil)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return &Signer{public: private.Public(), signer: signer}, nil
}

// private is how the claims of Kubernetes stand in a token. It always writes the
// audience as a list: the library would write one alone as a string.
type private struct {
	Audience   []string `json:"aud,omitempty"`
	Kubernetes Private  `json:"kubernetes.io"`
}

// Sign returns the claims as a token of this issuer.
func (s *Signer) Sign(c Claims) (string, error) {
	c.Issuer = Issuer
	return jwt.Signed(s.signer).Claims(c.Claims).Claims(private{c.Audience, c.Private}).Serialize()
}

// Read returns what a token says, if this signer has signed it. Whether it is
// good at this time is Check's question. A token of somebody else is ErrForeign.
func (s *Signer) Read(token string) (Claims, error) {
	if !issued(token) {
		return Claims{}, ErrForeign
	}
	t, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{Algorithm})
	if err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	var c Claims
	if err := t.Claims(s.public, &c.Claims); err != nil {
		return Claims{}, fmt.Errorf("invalid signature: %w", err)
	}
	var p struct {
		Kubernetes Private `json:"kubernetes.io"`
	}
	if err := t.Claims(s.public, &p); err != nil {
		return Claims{}, fmt.Errorf("invalid signature: %w", err)
	}
	c.Private = p.Kubernetes
	return c, nil
}

// issued says whether a token claims to be of this issuer.
func issued(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return false
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	return json.Unmarshal(payload, &claims) == nil && claims.Issuer == Issuer
}

// KeySet is the document with which others check tokens.
func (s *Signer) KeySet() ([]byte, error) {
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{s.public}})
}
