package pki

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, dir string, at time.Time, hosts ...string) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir, Hosts: hosts, Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parse(t *testing.T, p []byte) *x509.Certificate {
	t.Helper()
	b, _ := pem.Decode(p)
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestServerCertificateNames(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "pki"), time.Now(), "192.0.2.7", "0.0.0.0", "api.example.com")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CA())
	c := parse(t, s.Server().Cert)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"127.0.0.1", "::1", "localhost", "10.96.0.1", "192.0.2.7", "api.example.com", "kubernetes.default.svc.cluster.local", "kubernetes", host} {
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, DNSName: "[" + name + "]"}); err == nil {
			continue
		}
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if slices.ContainsFunc(c.IPAddresses, net.IP.IsUnspecified) {
		t.Error("the unspecified address is in the certificate")
	}
}

func TestWhatIsKeptAndWhatIsRenewed(t *testing.T) {
	day := 24 * time.Hour
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		later time.Duration
		hosts []string
		same  bool
	}{
		"next day":       {later: day, same: true},
		"half a year":    {later: 180 * day, same: true},
		"soon expired":   {later: 300 * day},
		"expired":        {later: 400 * day},
		"another name":   {later: day, hosts: []string{"new.example.com"}},
		"clock set back": {later: -30 * day},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "pki")
			first := open(t, dir, now)
			second := open(t, dir, now.Add(c.later), c.hosts...)
			if got := string(first.Server().Cert) == string(second.Server().Cert); got != c.same {
				t.Errorf("same certificate: %v", got)
			}
			if string(first.CA()) != string(second.CA()) {
				t.Error("the authority changed")
			}
			if !first.Signing().Equal(second.Signing()) {
				t.Error("the key of tokens changed")
			}
		})
	}
}

func TestFilesArePrivateAndHalfAPairCountsAsNone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	s := open(t, dir, time.Now())
	if _, err := s.Client("admin", AdminUser, GroupMasters); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 7 {
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		if i, err := e.Info(); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), i.Mode(), err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "admin.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Client("admin", AdminUser, GroupMasters); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.key"), []byte("damage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "ca.crt") {
		t.Errorf("damaged authority: %v", err)
	}
}

func TestClientIdentity(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "pki"), time.Now())
	p, err := s.Ephemeral(NodeUser("n"), GroupNodes)
	if err != nil {
		t.Fatal(err)
	}
	c := parse(t, p.Cert)
	if c.Subject.CommonName != "system:node:n" || !slices.Equal(c.Subject.Organization, []string{GroupNodes}) {
		t.Errorf("%v", c.Subject)
	}
	if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		t.Errorf("usage %v", c.ExtKeyUsage)
	}
}

// FuzzDecode: whatever a file holds, it is refused or used, never a panic.
func FuzzDecode(f *testing.F) {
	a, err := NewAuthority("ca", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(a.pair.Cert, a.pair.Key)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte(nil))
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		if c, k, err := decode(Pair{Cert: cert, Key: key}); err == nil && (c == nil || k == nil) {
			t.Error("no error and no pair")
		}
	})
}
