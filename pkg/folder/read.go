package folder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxFile bounds a file, in bytes.
	maxFile = 16 << 20
	// maxHops bounds the links on the way to a file.
	maxHops = 40
)

// Snapshot is a folder as it was read.
type Snapshot struct {
	Files []File
	// Dirs are the directories where a change may change the snapshot.
	Dirs []string
	// Problem, if not nil, is why the folder cannot be read. Nothing is known
	// of its files then.
	Problem *Problem
	// Open says that anybody may write to the folder or one of its files.
	Open string

	raw map[string]content
}

// content is what a file had when it was parsed last.
type content struct {
	sum  string
	file File
}

// Read reads a folder. A file that has not changed since the snapshot before is
// not parsed again, and one that somebody is just writing is as it was there.
func Read(root string, before Snapshot) Snapshot {
	r := &reader{before: before.raw, visited: map[string]bool{}, dirs: map[string]bool{}}
	r.raw = map[string]content{}
	r.hops(root)
	info, err := os.Stat(root)
	switch {
	case err != nil:
		r.Problem = &Problem{File: root, Message: because(err)}
		// It may be made together with the directories above it.
		for dir := filepath.Dir(root); dir != "/" && dir != "."; dir = filepath.Dir(dir) {
			r.dirs[filepath.Dir(dir)] = true
			if _, err := os.Stat(dir); err == nil {
				break
			}
		}
	case !info.IsDir():
		r.Problem = &Problem{File: root, Message: "is not a folder"}
	default:
		r.dir(root, "")
	}
	for dir := range r.dirs {
		r.Dirs = append(r.Dirs, dir)
	}
	slices.Sort(r.Dirs)
	slices.SortFunc(r.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return r.Snapshot
}

type reader struct {
	Snapshot
	before        map[string]content
	visited, dirs map[string]bool
}

// because leaves out the path, which is told beside it.
func because(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// hops notes the directories in which the links of a path are: there they are
// changed.
func (r *reader) hops(path string) {
	for range maxHops {
		path = filepath.Clean(path)
		r.dirs[filepath.Dir(path)] = true
		to, err := os.Readlink(path)
		if err != nil {
			return
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		// A link in the middle of the way counts as well.
		for dir := filepath.Dir(to); dir != "/" && dir != "."; dir = filepath.Dir(dir) {
			if _, err := os.Readlink(dir); err == nil {
				r.dirs[filepath.Dir(dir)] = true
			}
		}
		path = to
	}
}

// dir reads a directory and those in it. Hidden names are left alone: editors
// and mounted ConfigMaps keep theirs there.
func (r *reader) dir(path, rel string) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil || r.visited[real] {
		return
	}
	r.visited[real], r.dirs[path] = true, true
	entries, err := os.ReadDir(path)
	if err != nil {
		r.Files = append(r.Files, unknown(filepath.Join(rel, "."), because(err)))
		return
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		full, sub := filepath.Join(path, name), filepath.Join(rel, name)
		manifest := slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
		if e.Type()&fs.ModeSymlink != 0 {
			r.hops(full)
		}
		info, err := os.Stat(full)
		switch {
		case errors.Is(err, fs.ErrNotExist) && e.Type()&fs.ModeSymlink == 0:
		case err != nil && manifest:
			r.Files = append(r.Files, unknown(sub, because(err)))
		case err != nil:
		case info.IsDir():
			r.dir(full, sub)
		case manifest:
			r.file(full, sub, info)
		}
	}
}

func unknown(path, message string) File {
	return File{Path: path, Unknown: true, Problems: []Problem{{File: path, Message: message}}}
}

func (r *reader) file(path, rel string, info fs.FileInfo) {
	if info.Mode().Perm()&0o002 != 0 && r.Open == "" {
		r.Open = rel
	}
	switch {
	case !info.Mode().IsRegular():
		r.Files = append(r.Files, unknown(rel, "is not a file"))
		return
	case info.Size() > maxFile:
		r.Files = append(r.Files, unknown(rel, fmt.Sprintf("is larger than %d MiB", maxFile>>20)))
		return
	}
	data, err := read(path)
	was, known := r.before[rel]
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case errors.Is(err, errWriting) && known:
		// It is read when it is closed.
		r.raw[rel] = was
		r.Files = append(r.Files, was.file)
		return
	case err != nil:
		r.Files = append(r.Files, unknown(rel, because(err)))
		return
	}
	sum := digest(data)
	if !known || was.sum != sum {
		was = content{sum: sum, file: Parse(rel, data)}
	}
	r.raw[rel] = was
	r.Files = append(r.Files, was.file)
}

// errWriting: somebody has the file open to write to it.
var errWriting = errors.New("is being written")

// read reads a file that nobody is writing.
func read(path string) ([]byte, error) {
	// A pipe that took the file's place must not keep us waiting.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) //nolint:gosec // the administrator's folder
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if writing(f) {
		return nil, errWriting
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case writing(f):
		return nil, errWriting
	case len(data) > maxFile:
		return nil, fmt.Errorf("is larger than %d MiB", maxFile>>20)
	}
	return data, nil
}

// writing asks the kernel whether a file is open for writing: a lease for
// reading is refused then. File systems that know no leases say no.
func writing(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}
