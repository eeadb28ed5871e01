// Package pki makes and keeps the certificates of one carob instance: an
// authority made on the first start, the API server's certificate and those of
// its clients. It must not know who is allowed to do what.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

// How long certificates are valid. The authority outlives what it signs;
// anything else is renewed at a start, once less than a third of its time is
// left.
const (
	authorityYears = 10
	leafValidity   = 365 * 24 * time.Hour
	// backdate lets a certificate be used at once by a client whose clock is
	// a little behind.
	backdate = 5 * time.Minute
)

// Pair is a certificate with its key, both in PEM.
type Pair struct {
	Cert, Key []byte
}

// Authority signs the certificates of one instance.
type Authority struct {
	pair Pair
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Identity is what a certificate says about its owner.
type Identity struct {
	// User and Groups become the subject's common name and organizations.
	User   string
	Groups []string
	// Hosts are host names and IP addresses a server answers under; a
	// certificate without any is a client's.
	Hosts []string
}

// NewAuthority makes a self-signed authority.
func NewAuthority(name string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.AddDate(authorityYears, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return newAuthority(der, key)
}

func newAuthority(der []byte, key *ecdsa.PrivateKey) (*Authority, error) {
	pair, err := encode(der, key)
	if err != nil {
		return nil, err
	}
	return parseAuthority(pair)
}

func parseAuthority(p Pair) (*Authority, error) {
	cert, key, err := decode(p)
	if err != nil {
		return nil, err
	}
	if !cert.IsCA {
		return nil, errors.New("the certificate is not an authority's")
	}
	return &Authority{pair: p, cert: cert, key: key}, nil
}

// Cert is the authority's own certificate in PEM, for those who have to trust
// it.
func (a *Authority) Cert() []byte { return a.pair.Cert }

// Issue signs a new certificate for id.
func (a *Authority) Issue(id Identity, now time.Time) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	t, err := template(id, now)
	if err != nil {
		return Pair{}, err
	}
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("certificate of %s: %w", id.User, err)
	}
	return encode(der, key)
}

func template(id Identity, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: id.User, Organization: id.Groups},
		NotBefore:    now.Add(-backdate), NotAfter: now.Add(leafValidity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(id.Hosts) > 0 {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, h := range id.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return t, nil
}

// usable tells whether a stored pair still serves: signed by a, for exactly
// that identity, and with more than a third of its time left. It is pure.
func (a *Authority) usable(p Pair, id Identity, now time.Time) bool {
	cert, _, err := decode(p)
	if err != nil || cert.CheckSignatureFrom(a.cert) != nil || now.Before(cert.NotBefore) {
		return false
	}
	life := min(leafValidity, cert.NotAfter.Sub(cert.NotBefore))
	if cert.NotAfter.Sub(now) < life/3 && cert.NotAfter.Before(a.cert.NotAfter) {
		return false
	}
	if now.After(cert.NotAfter) || cert.Subject.CommonName != id.User || !sameSet(cert.Subject.Organization, id.Groups) {
		return false
	}
	hosts := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return sameSet(hosts, canonical(id.Hosts))
}

func canonical(hosts []string) []string {
	var out []string
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			h = ip.String()
		}
		out = append(out, h)
	}
	return out
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b))))
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
}

func encode(der []byte, key *ecdsa.PrivateKey) (Pair, error) {
	raw, err := encodeKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: raw}, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}

func decodeKey(data []byte) (*ecdsa.PrivateKey, error) {
	b, _ := pem.Decode(data)
	if b == nil {
		return nil, errNoPEM
	}
	raw, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := raw.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key is not an ECDSA key")
	}
	return key, nil
}

var errNoPEM = errors.New("no PEM block found")

// decode parses a pair and checks that the two halves belong together.
func decode(p Pair) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	cb, _ := pem.Decode(p.Cert)
	if cb == nil {
		return nil, nil, errNoPEM
	}
	cert, err := x509.ParseCertificate(cb.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, err := decodeKey(p.Key)
	if err != nil {
		return nil, nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, errors.New("certificate and key do not belong together")
	}
	return cert, key, nil
}
