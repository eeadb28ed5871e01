package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"go.uber.org/zap"

	"github.com/carob-project/carob/pkg/pod"
)

// prepareFiles makes the files that every container of the pod mounts.
func (m *Manager) prepareFiles(p *corev1.Pod, l layout) error {
	host, err := m.hostResolver()
	if err != nil {
		return err
	}
	r, cut := podResolver(p, host, m.opts.ClusterDNS, m.opts.ClusterDomain)
	if cut {
		m.opts.Log.Warn("not all nameservers and search domains fit into resolv.conf; the rest is left out",
			zap.String("pod", p.Namespace+"/"+p.Name), zap.String("uid", string(p.UID)))
	}
	if err := writeInPlace(l.resolvConf(), r.text()); err != nil {
		return err
	}
	node, err := os.Hostname()
	if err != nil && p.Spec.HostNetwork {
		return err
	}
	if err := writeInPlace(l.hostname(), pod.HostnameOn(p, node)+"\n"); err != nil {
		return err
	}
	// What may change in a hosts file are the IPs, which come from SetIPs.
	have, err := os.ReadFile(l.hosts())
	if err == nil && strings.HasPrefix(string(have), hostsHeader) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return m.writeHosts(p, l, nil)
}

// writeHosts writes the hosts file. A pod in the node's network has the node's.
func (m *Manager) writeHosts(p *corev1.Pod, l layout, ips []string) error {
	if !p.Spec.HostNetwork {
		return writeInPlace(l.hosts(), hostsText(p, ips, m.opts.ClusterDomain))
	}
	node, err := os.ReadFile("/etc/hosts")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the node's hosts file: %w", err)
	}
	return writeInPlace(l.hosts(), nodeHostsText(p, string(node)))
}

// hostResolver reads the node's resolv.conf. Where it names only a resolver on a
// loopback address and systemd-resolved runs, the servers that one asks are
// taken, as pods reach those.
func (m *Manager) hostResolver() (resolver, error) {
	path := m.opts.ResolvConf
	if path == "" {
		path = "/etc/resolv.conf"
	}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return resolver{}, fmt.Errorf("reading the node's DNS settings: %w", err)
	}
	r := parseResolver(string(text))
	if m.opts.ResolvConf == "" && r.local() {
		if text, err := os.ReadFile("/run/systemd/resolve/resolv.conf"); err == nil {
			return parseResolver(string(text)), nil
		}
	}
	return r, nil
}

// SetIPs implements pod.Volumes. A pod whose files were never prepared is an
// error that wraps fs.ErrNotExist.
func (m *Manager) SetIPs(_ context.Context, p *corev1.Pod, ips []string) error {
	l, err := m.layout(p.UID)
	if err != nil {
		return err
	}
	defer m.locks.lock(p.UID)()
	if _, err := os.Lstat(l.dir); err != nil {
		return fmt.Errorf("writing the pod's IPs into its hosts file: %w", err)
	}
	if err := m.writeHosts(p, l, ips); err != nil {
		return fmt.Errorf("writing the pod's IPs into its hosts file: %w", err)
	}
	return nil
}

// writeInPlace makes the content of a file, readable for all, equal to text. One
// that exists keeps its inode, because containers have it mounted, and is never
// empty meanwhile; a new one appears as a whole.
func writeInPlace(path, text string) (err error) {
	// That it is looked at need not be noted on the disk.
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOATIME, 0)
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.OpenFile(path, os.O_RDWR, 0)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return writeNew(path, text)
	}
	if err != nil {
		return err
	}
	defer func() { err = written(errors.Join(err, f.Close())) }()
	have, err := io.ReadAll(f)
	if err != nil || bytes.Equal(have, []byte(text)) {
		return err
	}
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}

func writeNew(path, text string) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	err := os.WriteFile(tmp, []byte(text), 0o600)
	if err == nil {
		err = os.Chmod(tmp, 0o644) // #nosec G302 -- containers of any user read it
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	return written(err)
}

// The limits of termination messages that Kubernetes sets.
const (
	maxMessage         = 4096
	maxMessageLogBytes = 2048
	maxMessageLogLines = 80
)

// terminationFile makes the file into which an attempt may write its last words,
// and returns its path.
func terminationFile(l layout, container string, attempt int) (string, error) {
	path := l.termination(container, attempt)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", written(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return "", written(err)
	}
	return path, errors.Join(f.Chmod(0o666), f.Close())
}

// ReadTerminationMessage returns what an attempt left as its message: the last
// 4096 bytes of its file, or, with the policy FallbackToLogsOnError, if that is
// empty and the attempt failed, what logTail answers for 80 lines and 2048
// bytes. A file that is not there is an empty one. The result is valid UTF-8.
func (m *Manager) ReadTerminationMessage(uid types.UID, container string, attempt int,
	policy corev1.TerminationMessagePolicy, failed bool,
	logTail func(lines int, bytes int64) (string, error),
) (string, error) {
	l, err := m.layout(uid)
	if err != nil {
		return "", err
	}
	if !component(container) {
		return "", fmt.Errorf("container name %q cannot be a file name", container)
	}
	text, err := readEnd(l.termination(container, attempt), maxMessage)
	if err != nil {
		return "", fmt.Errorf("reading the termination message: %w", err)
	}
	if text == "" && failed && policy == corev1.TerminationMessageFallbackToLogsOnError && logTail != nil {
		if text, err = logTail(maxMessageLogLines, maxMessageLogBytes); err != nil {
			return "", fmt.Errorf("reading the log for the termination message: %w", err)
		}
	}
	return strings.ToValidUTF8(text, "\uFFFD"), nil
}

func readEnd(path string, limit int64) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	size := min(st.Size(), limit)
	text, err := io.ReadAll(io.NewSectionReader(f, st.Size()-size, size))
	return string(text), err
}

// RemoveAttempt removes the files of one attempt other than its log. One that
// has none is no error.
func (m *Manager) RemoveAttempt(uid types.UID, container string, attempt int) error {
	l, err := m.layout(uid)
	if err != nil {
		return err
	}
	if !component(container) {
		return fmt.Errorf("container name %q cannot be a file name", container)
	}
	if err := os.Remove(l.termination(container, attempt)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
