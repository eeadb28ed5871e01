package ctrd

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/pkg/pod"
)

// oddImage has files of every sort that a change of owner could harm.
func oddImage(t *testing.T, capability []byte) v1.Image {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range []tar.Header{
		{Name: "odd/", Typeflag: tar.TypeDir, Mode: 0o3755, Uid: 7, Gid: 8},
		{Name: "odd/suid", Typeflag: tar.TypeReg, Mode: 0o6755, Uid: 0, Gid: 5},
		{Name: "odd/cap", Typeflag: tar.TypeReg, Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr." + capabilityAttribute: string(capability)}},
		{Name: "odd/hard", Typeflag: tar.TypeLink, Linkname: "odd/suid", Mode: 0o6755, Gid: 5},
		{Name: "odd/soft", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd", Uid: 3, Gid: 3},
		{Name: "odd/big", Typeflag: tar.TypeReg, Mode: 0o600, Uid: 70000, Gid: 65535},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(buildImage(t, nil), layer)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// rawCapability is CAP_NET_RAW, permitted and effective, as setcap writes it.
func rawCapability() []byte {
	out := make([]byte, 20)
	binary.LittleEndian.PutUint32(out, 2<<24|1)
	binary.LittleEndian.PutUint32(out[4:], 1<<unix.CAP_NET_RAW)
	return out
}

// A snapshotter that cannot map IDs gives each file to the pod's users, and
// nothing else about it changes, however often that is done.
func TestShift(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	const ref = "docker.io/library/odd:1"
	if _, err := r.Import(t.Context(), archiveOf(t, ref, oddImage(t, rawCapability())), nil); err != nil {
		t.Fatal(err)
	}
	ctx := r.scoped(t.Context())
	img, err := r.mustImage(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	sn := r.client.SnapshotService(img.snapshotter)
	mounts, err := sn.Prepare(ctx, "shifted", img.chainID, snapshots.WithLabels(map[string]string{labelRoot: now().Format(time.RFC3339)}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sn.Remove(r.scoped(t.Context()), "shifted") })
	users := pod.IDRange{First: 131072, Size: 65536}
	for range 2 {
		if err := shift(ctx, mounts, users); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter("/dev")); err != nil || len(left) > 1 || len(left) == 1 && left[0].FSType == "overlay" {
		t.Errorf("mounts on /dev: %+v %v", left, err)
	}
	dir := t.TempDir()
	if err := mount.All(mounts, dir); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mount.UnmountAll(dir, 0) }()
	got := map[string]string{}
	for _, name := range []string{"", "odd", "odd/suid", "odd/cap", "odd/hard", "odd/soft", "odd/big", "bin/sh"} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil {
			t.Fatal(err)
		}
		got[name] = fmt.Sprintf("%d:%d %o", st.Uid, st.Gid, st.Mode)
	}
	want := map[string]string{
		"": "131072:131072 40755", "odd": "131079:131080 43755", "odd/suid": "131072:131077 106755", "odd/cap": "131072:131072 100755",
		"odd/hard": "131072:131077 106755", "odd/soft": "131075:131075 120777", "odd/big": "70000:196607 100600", "bin/sh": "131072:131072 120777",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	buf := make([]byte, 64)
	n, err := unix.Lgetxattr(filepath.Join(dir, "odd/cap"), capabilityAttribute, buf)
	if err != nil || !bytes.Equal(buf[:n], ownedCapability(rawCapability(), users.First)) {
		t.Errorf("capabilities %x: %v", buf[:max(n, 0)], err)
	}
}

func TestOwnedCapability(t *testing.T) {
	owned := ownedCapability(rawCapability(), 131072)
	if len(owned) != 24 || binary.LittleEndian.Uint32(owned) != 3<<24|1 || binary.LittleEndian.Uint32(owned[20:]) != 131072 ||
		!bytes.Equal(owned[4:20], rawCapability()[4:]) {
		t.Errorf("%x", owned)
	}
	for _, other := range [][]byte{owned, nil, {1, 2, 3}} {
		if got := ownedCapability(other, 5); !bytes.Equal(got, other) {
			t.Errorf("%x became %x", other, got)
		}
	}
}
