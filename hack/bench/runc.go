package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// byHand runs with runc alone what carob's shim ran: the very bundles of a pod
// of carob's, in the namespaces of that pod, which must live as long.
//
// In its time are runc create and runc start of both containers, one after the
// other, as typed into a shell. Not in it are a root file system (prepared),
// network (there already), pipes for logs (/dev/null), a shim that waits for
// the end, and whoever decides and remembers.
type byHand struct {
	dir, root string
	ids       []string
}

func newByHand(dir string) *byHand {
	return &byHand{dir: dir, root: filepath.Join(dir, "state"), ids: []string{"a", "b"}}
}

// prepare takes over the bundles of a pod.
func (r *byHand) prepare(ctx context.Context, c *carob, s started, image string) error {
	for _, id := range r.ids {
		dir := filepath.Join(r.dir, id)
		if err := unpack(image, filepath.Join(dir, "rootfs")); err != nil {
			return fmt.Errorf("root file system: %w", err)
		}
		_, state, _ := c.settings().PrivateContainerd()
		theirs := filepath.Join(state, "io.containerd.runtime.v2.task", "carob", string(s.uid)+"-"+id+"-0", "config.json")
		config, err := os.ReadFile(theirs)
		if err != nil {
			return err
		}
		if config, err = r.rewrite(config, id); err != nil {
			return fmt.Errorf("%s: %w", theirs, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
			return err
		}
	}
	// The first run makes the mount points in the root file system.
	_, err := r.once(ctx)
	return errors.Join(err, r.remove(ctx))
}

// rewrite gives a bundle a root file system and a control group of its own.
func (r *byHand) rewrite(config []byte, id string) ([]byte, error) {
	var spec map[string]any
	if err := json.Unmarshal(config, &spec); err != nil {
		return nil, err
	}
	root, ok1 := spec["root"].(map[string]any)
	linux, ok2 := spec["linux"].(map[string]any)
	if !ok1 || !ok2 {
		return nil, errors.New("not the configuration of a bundle")
	}
	root["path"] = "rootfs"
	linux["cgroupsPath"] = "/" + r.group() + "/" + id
	return json.Marshal(spec)
}

func (r *byHand) group() string { return "carob-bench-runc-" + fmt.Sprint(os.Getpid()) }

func (r *byHand) runc(ctx context.Context, args ...string) error {
	log := filepath.Join(r.dir, "log")
	// Neither input nor output: what the container inherits must not keep the
	// benchmark waiting.
	cmd := exec.CommandContext(ctx, "runc", append([]string{"--root", r.root, "--log", log}, args...)...)
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(log)
		return fmt.Errorf("runc %s: %w\n%s", strings.Join(args, " "), err, said)
	}
	return nil
}

// once starts both containers.
func (r *byHand) once(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	for _, verb := range []string{"create", "start"} {
		for _, id := range r.ids {
			args := []string{verb, id}
			if verb == "create" {
				args = []string{verb, "--bundle", filepath.Join(r.dir, id), id}
			}
			if err := r.runc(ctx, args...); err != nil {
				return 0, err
			}
		}
	}
	return time.Since(began), nil
}

func (r *byHand) remove(ctx context.Context) error {
	var errs []error
	for _, id := range r.ids {
		errs = append(errs, r.runc(ctx, "delete", "--force", id))
	}
	return errors.Join(errs...)
}

// execTrue runs true in the first container.
func (r *byHand) execTrue(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	err := r.runc(ctx, "exec", r.ids[0], "true")
	return time.Since(began), err
}

func (r *byHand) destroy() error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var errs []error
	for _, id := range r.ids {
		if _, err := os.Stat(filepath.Join(r.root, id)); err == nil {
			errs = append(errs, r.runc(ctx, "delete", "--force", id))
		}
		_ = unix.Unmount(filepath.Join(r.dir, id, "rootfs"), unix.MNT_DETACH)
	}
	return errors.Join(append(errs, removeGroups(r.group()))...)
}

// unpack writes the files of the image, which has one layer of directories,
// files and links.
func unpack(image, to string) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := os.MkdirAll(to, 0o750); err != nil {
		return err
	}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			return fmt.Errorf("%s: no layer: %w", image, err)
		}
		if !strings.HasSuffix(h.Name, ".tar.gz") {
			continue
		}
		layer, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		return unpackLayer(tar.NewReader(layer), to)
	}
}

func unpackLayer(r *tar.Reader, to string) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join(to, filepath.Clean("/"+h.Name))
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, 0o755) //nolint:gosec // as in an image
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, path)
		case tar.TypeLink:
			err = os.Link(filepath.Join(to, filepath.Clean("/"+h.Linkname)), path)
		default:
			var data bytes.Buffer
			if _, err = io.Copy(&data, r); err == nil { //nolint:gosec // our own image
				err = os.WriteFile(path, data.Bytes(), h.FileInfo().Mode().Perm())
			}
		}
		if err != nil {
			return err
		}
	}
}
