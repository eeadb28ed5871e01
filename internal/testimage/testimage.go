// Package testimage makes a small container image from the machine's own
// busybox, so that the demo and the tests need no registry. It must not know
// who runs the image.
package testimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// DefaultName is the reference under which the manifests know the image.
const DefaultName = "docker.io/library/busybox:1.35"

// DefaultBusybox is where Debian's busybox-static puts it.
const DefaultBusybox = "/bin/busybox"

// Options choose what goes into the image. The zero value is usable.
type Options struct {
	// Busybox is the path of a static busybox; empty: DefaultBusybox.
	Busybox string
	// Architecture and OS of the image's configuration; empty: this
	// machine's. Another one makes an image that cannot run here.
	Architecture, OS string
	// Env, Cmd and User are added to the configuration.
	Env  []string
	Cmd  []string
	User string
}

// Build returns an image with busybox, links for its applets, and the files a
// small system needs.
func Build(o Options) (v1.Image, error) {
	if o.Busybox == "" {
		o.Busybox = DefaultBusybox
	}
	layer, err := rootfs(o.Busybox)
	if err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	cf.Architecture, cf.OS = orElse(o.Architecture, runtime.GOARCH), orElse(o.OS, "linux")
	cf.Config.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, o.Env...)
	cf.Config.Cmd, cf.Config.User = o.Cmd, o.User
	if len(cf.Config.Cmd) == 0 {
		cf.Config.Cmd = []string{"sh"}
	}
	return mutate.ConfigFile(img, cf)
}

// WriteTar builds the image and writes it as a docker archive with this name.
func WriteTar(w io.Writer, ref string, o Options) error {
	img, err := Build(o)
	if err != nil {
		return err
	}
	tag, err := name.ParseReference(ref)
	if err != nil {
		return fmt.Errorf("image name: %w", err)
	}
	return tarball.Write(tag, img, w)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func rootfs(busybox string) ([]byte, error) {
	binary, err := os.ReadFile(busybox) //nolint:gosec // the caller names the file
	if err != nil {
		return nil, fmt.Errorf("busybox for the image: %w (apt-get install busybox-static)", err)
	}
	list, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", busybox, err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(h tar.Header, content []byte) {
		if err != nil {
			return
		}
		h.Size = int64(len(content))
		if err = w.WriteHeader(&h); err == nil {
			_, err = w.Write(content)
		}
	}
	for _, d := range []string{"bin/", "etc/", "home/", "root/", "usr/", "usr/bin/", "var/", "www/"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: 0o755}, nil)
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, nil)
	add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, binary)
	for _, applet := range strings.Fields(string(list)) {
		if applet != "busybox" {
			add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox", Mode: 0o777}, nil)
		}
	}
	add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644},
		[]byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
	add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\nnogroup:x:65534:\n"))
	if err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
