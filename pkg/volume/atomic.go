package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// The names of the scheme by which readers see all files of one version, or all
// of the next: every visible name is a link through ..data, which points to the
// directory of the version and is replaced by a rename.
const (
	dataLink    = "..data"
	dataLinkNew = "..data_tmp"
	dataLayout  = "..2006_01_02_15_04_05.000000000"
)

// writePayload makes the content of the volume in dir, which exists, equal to p.
// It writes nothing where it is so already. It may be interrupted anywhere. With
// a group everything belongs to it, and it may read every file.
func writePayload(dir string, p payload, group int, now time.Time) error {
	if group != noGroup {
		p = p.readableByGroup()
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	current, err := root.Readlink(dataLink)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	same := current != "" && payloadEqual(root, current, p, group)
	if !same {
		if current, err = writeVersion(root, p, group, now); err != nil {
			return written(err)
		}
	}
	if err := linkNames(root, p); err != nil {
		return written(err)
	}
	return removeStale(root, current, p)
}

// payloadEqual says whether the version directory holds exactly p. What cannot
// be read is not equal: it is then written anew.
func payloadEqual(root *os.Root, version string, p payload, group int) bool {
	found := 0
	err := fs.WalkDir(root.FS(), version, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		want, ok := p[strings.TrimPrefix(name, version+"/")]
		if !ok || !d.Type().IsRegular() {
			return fs.ErrInvalid
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm() != os.FileMode(want.mode).Perm() || info.Size() != int64(len(want.data)) {
			return fs.ErrInvalid
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || int(st.Uid) != want.owner || group != noGroup && int(st.Gid) != group {
			return fs.ErrInvalid
		}
		have, err := root.ReadFile(name)
		if err != nil {
			return err
		}
		if !bytes.Equal(have, want.data) {
			return fs.ErrInvalid
		}
		found++
		return nil
	})
	return err == nil && found == len(p)
}

// writeVersion writes p into a new directory and turns ..data to it.
func writeVersion(root *os.Root, p payload, group int, now time.Time) (_ string, err error) {
	var version string
	for {
		version = now.UTC().Format(dataLayout)
		err := root.Mkdir(version, 0o700)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		now = now.Add(1)
	}
	defer func() {
		if err != nil {
			// If this fails too, the next call removes it.
			_ = root.RemoveAll(version)
		}
	}()
	if err := openVersionDir(root, version, group); err != nil {
		return "", err
	}
	for name, f := range p {
		if err := writeFile(root, version, name, f, group); err != nil {
			return "", err
		}
	}
	if err := root.Remove(dataLinkNew); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := root.Symlink(version, dataLinkNew); err != nil {
		return "", err
	}
	return version, root.Rename(dataLinkNew, dataLink)
}

func writeFile(root *os.Root, version, name string, f file, group int) (err error) {
	for i, c := range name {
		if c != '/' {
			continue
		}
		dir := path.Join(version, name[:i])
		if err := root.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := openVersionDir(root, dir, group); err != nil {
			return err
		}
	}
	w, err := root.OpenFile(path.Join(version, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := w.Write(f.data); err != nil {
		return err
	}
	if group != noGroup || f.owner != 0 {
		if err := w.Chown(f.owner, group); err != nil {
			return err
		}
	}
	return w.Chmod(os.FileMode(f.mode).Perm())
}

// openVersionDir lets everyone look into a directory of a version.
func openVersionDir(root *os.Root, dir string, group int) error {
	mode := fs.FileMode(0o755)
	if group != noGroup {
		if err := root.Chown(dir, -1, group); err != nil {
			return err
		}
		mode |= fs.ModeSetgid
	}
	return root.Chmod(dir, mode)
}

// linkNames makes the names that containers see.
func linkNames(root *os.Root, p payload) error {
	for name := range p.top() {
		want := path.Join(dataLink, name)
		have, err := root.Readlink(name)
		if err == nil && have == want {
			continue
		}
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			// Another link, or the empty directory that a subPath made.
			if err := root.Remove(name); err != nil {
				return fmt.Errorf("%s is in the way: %w", name, err)
			}
		}
		if err := root.Symlink(want, name); err != nil {
			return err
		}
	}
	return nil
}

// removeStale removes other versions, and links to names that are no more.
func removeStale(root *os.Root, version string, p payload) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	top := p.top()
	for _, e := range entries {
		name := e.Name()
		if _, wanted := top[name]; wanted || name == dataLink || name == version {
			continue
		}
		if !strings.HasPrefix(name, "..") {
			target, err := root.Readlink(name)
			if err != nil || !strings.HasPrefix(target, dataLink+"/") {
				continue
			}
		}
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}
