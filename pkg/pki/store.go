package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
)

// Names and groups of the identities that carob itself uses.
const (
	AdminUser       = "carob-admin"
	GroupMasters    = "system:masters"
	GroupNodes      = "system:nodes"
	UserScheduler   = "system:kube-scheduler"
	UserControllers = "system:carob-controllers"
	nodePrefix      = "system:node:"
)

// signingFile holds the key that signs the tokens of service accounts.
const signingFile = "sa.key"

// ServiceIP is the first address of the service range, under which the API is
// reached from within pods.
const ServiceIP = "10.96.0.1"

// NodeUser is the user name of a node's agent.
func NodeUser(node string) string { return nodePrefix + node }

// Options say where the files are and under which names the server answers.
type Options struct {
	// Dir is `<data-dir>/pki`; it is made with mode 0700.
	Dir string
	// Hosts are further names and addresses of the API server, beside the
	// loopback ones, this machine's and the service's.
	Hosts []string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log may be nil.
	Log *zap.Logger
}

// Store holds an instance's authority and issues from it.
type Store struct {
	dir       string
	now       func() time.Time
	log       *zap.Logger
	authority *Authority
	server    Pair
	signing   *ecdsa.PrivateKey
}

// Open reads the authority and the server's certificate, makes what is not
// there and renews what soon expires. An authority that cannot be read is an
// error: replacing it would lock out every client.
func Open(o Options) (*Store, error) {
	s := &Store{dir: o.Dir, now: o.Now, log: o.Log}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	if err := s.openAuthority(); err != nil {
		return nil, fmt.Errorf("pki: %s: %w", s.path("ca.crt"), err)
	}
	var err error
	id := Identity{User: "carob-apiserver", Hosts: serverHosts(o.Hosts)}
	if s.server, err = s.keep("apiserver", id); err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	if err := s.openSigning(); err != nil {
		return nil, fmt.Errorf("pki: %s: %w", s.path(signingFile), err)
	}
	return s, nil
}

// Signing is the key that signs the tokens of service accounts. It is made once
// and outlives every certificate: pods hold tokens that it signed.
func (s *Store) Signing() *ecdsa.PrivateKey { return s.signing }

// CA is the authority's certificate in PEM.
func (s *Store) CA() []byte { return s.authority.Cert() }

// Server is the API server's certificate.
func (s *Store) Server() Pair { return s.server }

// Client returns a client certificate that is kept in a file called name and
// renewed when it soon expires.
func (s *Store) Client(name, user string, groups ...string) (Pair, error) {
	return s.keep(name, Identity{User: user, Groups: groups})
}

// Ephemeral returns a client certificate that is stored nowhere, for a
// component of this process.
func (s *Store) Ephemeral(user string, groups ...string) (Pair, error) {
	return s.authority.Issue(Identity{User: user, Groups: groups}, s.now())
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Store) openAuthority() error {
	p, err := s.read("ca")
	if err == nil {
		if s.authority, err = parseAuthority(p); err != nil {
			return err
		}
		if s.now().After(s.authority.cert.NotAfter) {
			return fmt.Errorf("expired on %s; remove the directory to make a new one", s.authority.cert.NotAfter.Format(time.DateOnly))
		}
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if s.authority, err = NewAuthority("carob-ca", s.now()); err != nil {
		return err
	}
	s.log.Info("certificate authority made", zap.String("dir", s.dir))
	return s.write("ca", s.authority.pair)
}

// openSigning reads the signing key, or makes it. One that cannot be read is an
// error: another one would void every token.
func (s *Store) openSigning() error {
	data, err := os.ReadFile(s.path(signingFile))
	if err == nil {
		s.signing, err = decodeKey(data)
		return err
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if s.signing, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	if data, err = encodeKey(s.signing); err != nil {
		return err
	}
	return writeFile(s.path(signingFile), data)
}

// keep returns the stored pair called name while it is usable, else a new one
// that takes its place.
func (s *Store) keep(name string, id Identity) (Pair, error) {
	p, err := s.read(name)
	if err == nil && s.authority.usable(p, id, s.now()) {
		return p, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Pair{}, err
	}
	if p, err = s.authority.Issue(id, s.now()); err != nil {
		return Pair{}, err
	}
	s.log.Info("certificate issued", zap.String("name", name), zap.String("user", id.User))
	return p, s.write(name, p)
}

func (s *Store) read(name string) (Pair, error) {
	key, err := os.ReadFile(s.path(name + ".key"))
	if err != nil {
		return Pair{}, err
	}
	cert, err := os.ReadFile(s.path(name + ".crt"))
	return Pair{Cert: cert, Key: key}, err
}

// write stores the certificate first: read asks for the key first, so half a
// pair, left by a crash between the two, counts as none.
func (s *Store) write(name string, p Pair) error {
	if err := writeFile(s.path(name+".crt"), p.Cert); err != nil {
		return err
	}
	return writeFile(s.path(name+".key"), p.Key)
}

// writeFile replaces a file as a whole, also across a power cut.
func writeFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone after the rename
	if _, err = tmp.Write(data); err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // our own directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// serverHosts are all names the API server answers under.
func serverHosts(more []string) []string {
	hosts := []string{
		"127.0.0.1", "::1", "localhost", ServiceIP,
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		hosts = append(hosts, name)
	}
	hosts = append(hosts, machineAddresses()...)
	for _, h := range more {
		if ip := net.ParseIP(h); h == "" || ip != nil && ip.IsUnspecified() {
			continue
		}
		hosts = append(hosts, h)
	}
	hosts = canonical(hosts)
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// machineAddresses are the addresses of this machine that others may use.
// Bridges and veths of containers come and go and would renew the certificate
// each time, so only interfaces with a hardware device behind them count.
func machineAddresses() []string {
	var out []string
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range ifaces {
		if _, err := os.Stat(filepath.Join("/sys/class/net", i.Name, "device")); err != nil {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				out = append(out, n.IP.String())
			}
		}
	}
	return out
}
