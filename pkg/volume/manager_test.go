package volume

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// objects are those of a test.
type objects struct {
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
	claims     map[string]*corev1.PersistentVolumeClaim
	volumes    map[string]*corev1.PersistentVolume
	bundles    []certificatesv1.ClusterTrustBundle
	err        error
}

func (o *objects) TrustBundle(_ context.Context, name string) (*certificatesv1.ClusterTrustBundle, error) {
	for i := range o.bundles {
		if o.bundles[i].Name == name {
			return &o.bundles[i], nil
		}
	}
	return nil, apierrors.NewNotFound(certificatesv1.Resource("clustertrustbundles"), name)
}

func (o *objects) TrustBundles(_ context.Context, signer string, s labels.Selector) ([]certificatesv1.ClusterTrustBundle, error) {
	var out []certificatesv1.ClusterTrustBundle
	for _, b := range o.bundles {
		if b.Spec.SignerName == signer && s.Matches(labels.Set(b.Labels)) {
			out = append(out, b)
		}
	}
	return out, nil
}

func (o *objects) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if c := o.configMaps[name]; c != nil || o.err != nil {
		return c, o.err
	}
	return nil, fmt.Errorf("get: %w", apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name))
}

func (o *objects) Claim(_ context.Context, _, name string) (*corev1.PersistentVolumeClaim, error) {
	if c := o.claims[name]; c != nil {
		return c, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("persistentvolumeclaims"), name)
}

func (o *objects) Volume(_ context.Context, name string) (*corev1.PersistentVolume, error) {
	if v := o.volumes[name]; v != nil {
		return v, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("persistentvolumes"), name)
}

func (o *objects) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	if s := o.secrets[name]; s != nil || o.err != nil {
		return s, o.err
	}
	return nil, fmt.Errorf("get: %w", pod.ErrNotFound)
}

// bench is a Manager on real directories. It unmounts what a test leaves.
type bench struct {
	*testing.T
	m   *Manager
	o   *objects
	dir string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("volumes are mounted: run this test as root")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o := &objects{configMaps: map[string]*corev1.ConfigMap{}, secrets: map[string]*corev1.Secret{}}
	resolv := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver 9.9.9.9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := New(Options{PodsDir: filepath.Join(dir, "pods"), MemoryDir: filepath.Join(dir, "memory"), Objects: o, ResolvConf: resolv})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmountBelow(dir); err != nil {
			t.Error(err)
		}
	})
	return &bench{t, m, o, dir}
}

func (b *bench) prepare(p *corev1.Pod) {
	b.Helper()
	if err := b.m.Prepare(b.Context(), p); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) mounts(p *corev1.Pod, attempt int) map[string]pod.Mount {
	b.Helper()
	list, err := b.m.Mounts(b.Context(), p, "app", attempt)
	if err != nil {
		b.Fatal(err)
	}
	all := map[string]pod.Mount{}
	for _, m := range list {
		all[m.ContainerPath] = m
	}
	return all
}

func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.dir, "pods", "0b5c2c1e-uid"}, parts...)...)
}

func (b *bench) content(path string) string {
	b.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

func (b *bench) mode(path string) string {
	b.Helper()
	st, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	return st.Mode().String()
}

func volumePod(vols ...corev1.Volume) *corev1.Pod {
	p := testPod()
	p.Spec.Volumes = vols
	for _, v := range vols {
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts,
			corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
	}
	return p
}

func vol(name string, s corev1.VolumeSource) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: s}
}

func configMapVolume(name, object string) corev1.Volume {
	return vol(name, corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: object}}})
}

func TestEveryVolume(t *testing.T) {
	b := newBench(t)
	b.o.configMaps["conf"] = &corev1.ConfigMap{Data: map[string]string{"a": "text"}, BinaryData: map[string][]byte{"b": {0, 1}}}
	b.o.secrets["pass"] = &corev1.Secret{Data: map[string][]byte{"key": []byte("hunter2")}}
	ref := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	host := filepath.Join(b.dir, "host")
	p := volumePod(
		vol("scratch", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}),
		vol("fast", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: "Memory", SizeLimit: ptr(resource.MustParse("1Mi"))}}),
		vol("host", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host}}),
		configMapVolume("conf", "conf"),
		vol("pass", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "pass", DefaultMode: ptr(int32(0o400))}}),
		vol("down", corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "who/name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}}),
		vol("all", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultMode: ptr(int32(0o440)), Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: ref("conf"), Items: []corev1.KeyToPath{{Key: "a", Path: "x/a"}}}},
			{Secret: &corev1.SecretProjection{LocalObjectReference: ref("pass"), Items: []corev1.KeyToPath{{Key: "key", Path: "x/key", Mode: ptr(int32(0o600))}}}},
			{Secret: &corev1.SecretProjection{LocalObjectReference: ref("none"), Optional: ptr(true)}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "ns", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
		}}}),
		vol("maybe", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: ref("none"), Optional: ptr(true)}}),
	)
	b.prepare(p)
	b.prepare(p)
	m := b.mounts(p, 0)
	for file, want := range map[string]string{
		"/conf/a": "text", "/conf/b": "\x00\x01", "/pass/key": "hunter2", "/down/who/name": "web",
		"/all/x/a": "text", "/all/x/key": "hunter2", "/all/ns": "shop",
	} {
		first, rest, _ := strings.Cut(file[1:], "/")
		if got := b.content(filepath.Join(m["/"+first].HostPath, rest)); got != want {
			t.Errorf("%s: %q", file, got)
		}
	}
	for path, want := range map[string]string{
		m["/scratch"].HostPath: "drwxrwxrwx", m["/fast"].HostPath: "dtrwxrwxrwx", m["/pass"].HostPath: "dtrwxrwxrwx",
		m["/conf"].HostPath: "drwxrwxrwx", host: "drwxr-xr-x",
		m["/conf"].HostPath + "/a": "-rw-r--r--", m["/pass"].HostPath + "/key": "-r--------",
		m["/all"].HostPath + "/x/a": "-r--r-----", m["/all"].HostPath + "/x/key": "-rw-------", m["/all"].HostPath + "/x": "drwxr-xr-x",
		b.path("etc-hosts"): "-rw-r--r--", b.path("resolv.conf"): "-rw-r--r--", b.path("hostname"): "-rw-r--r--",
		m["/dev/termination-log"].HostPath: "-rw-rw-rw-", b.path(): "drwx------",
	} {
		if got := b.mode(path); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	for name, memory := range map[string]bool{"/scratch": false, "/fast": true, "/conf": false, "/pass": true, "/all": true, "/down": true} {
		var st unix.Statfs_t
		if err := unix.Statfs(m[name].HostPath, &st); err != nil || (st.Type == unix.TMPFS_MAGIC) != memory {
			t.Errorf("%s: in memory is not %v (%v)", name, memory, err)
		}
		if m[name].ReadOnly != (name != "/scratch" && name != "/fast") {
			t.Errorf("%s: %+v", name, m[name])
		}
	}
	for name, mount := range m {
		if mount.Relabel != (name != "/host") {
			t.Errorf("%s: its label changes: %v", name, mount.Relabel)
		}
	}
	err := os.WriteFile(m["/fast"].HostPath+"/big", make([]byte, 2<<20), 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("more than the sizeLimit fits: %v", err)
	}
	if got := b.content(b.path("hostname")); got != "web\n" {
		t.Errorf("hostname %q", got)
	}
	if got := b.content(b.path("resolv.conf")); got != "nameserver 9.9.9.9\n" {
		t.Errorf("resolv.conf %q", got)
	}
	b.removed(p)
	if _, err := os.Stat(host); err != nil {
		t.Error("the hostPath is gone:", err)
	}
}

// removed removes a pod and looks whether anything is left.
func (b *bench) removed(p *corev1.Pod) {
	b.Helper()
	for range 2 {
		if err := b.m.Remove(b.Context(), p.UID); err != nil {
			b.Fatal(err)
		}
	}
	if e, err := os.ReadDir(filepath.Join(b.dir, "pods")); len(e) != 0 || err != nil {
		b.Errorf("left: %v %v", e, err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(b.dir))
	if len(mounts) != 0 || err != nil {
		b.Errorf("left: %v %v", mounts, err)
	}
}

func TestMissing(t *testing.T) {
	b := newBench(t)
	p := volumePod(configMapVolume("v", "x"),
		vol("w", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "y"}}),
		vol("ok", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}))
	err := b.m.Prepare(t.Context(), p)
	want := `MountVolume.SetUp failed for volume "v" : configmap "x" not found; MountVolume.SetUp failed for volume "w" : secret "y" not found`
	if !errors.Is(err, pod.ErrConfig) || err.Error() != want {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(b.path("volumes", "ok")); err != nil {
		t.Error("the others are not made:", err)
	}
	p.Spec.Volumes = p.Spec.Volumes[:1]
	if err := b.m.Prepare(t.Context(), p); err == nil || err.Error() != want[:strings.Index(want, ";")] {
		t.Errorf("error %v", err)
	}
	b.o.err = errors.New("connection refused")
	if err := b.m.Prepare(t.Context(), p); err == nil || errors.Is(err, pod.ErrConfig) {
		t.Errorf("an API that does not answer is taken for a missing object: %v", err)
	}
	b.o.err = nil
	b.o.configMaps["x"] = &corev1.ConfigMap{}
	b.prepare(p)
	b.removed(p)
}

// TestUpdate: what changes is replaced as a whole, what does not is not written.
func TestUpdate(t *testing.T) {
	b := newBench(t)
	set := func(data map[string]string) { b.o.configMaps["c"] = &corev1.ConfigMap{Data: data} }
	set(map[string]string{"a": "1", "b": "1"})
	p := volumePod(configMapVolume("c", "c"))
	b.prepare(p)
	dir := b.path("volumes", "c")
	data, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil || !strings.HasPrefix(data, "..20") {
		t.Fatalf("..data is %q, %v", data, err)
	}
	var before, after unix.Stat_t
	_ = unix.Stat(dir, &before)
	b.prepare(p)
	_ = unix.Stat(dir, &after)
	if before.Mtim != after.Mtim {
		t.Error("written without a change")
	}
	// Leftovers of a process killed in the middle.
	_ = os.MkdirAll(filepath.Join(dir, "..2020_01_01_00_00_00.000000000", "x"), 0o700)
	_ = os.Symlink("nowhere", filepath.Join(dir, "..data_tmp"))
	// And what a subPath of a missing key makes.
	_ = os.Mkdir(filepath.Join(dir, "c"), 0o700)
	set(map[string]string{"b": "2", "c": "2"})
	b.prepare(p)
	var names []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	data, _ = os.Readlink(filepath.Join(dir, "..data"))
	if d := cmp.Diff([]string{data, "..data", "b", "c"}, names); d != "" {
		t.Error(d)
	}
	if b.content(filepath.Join(dir, "b"))+b.content(filepath.Join(dir, "c")) != "22" {
		t.Error("not up to date")
	}
	p.Spec.Volumes[0].ConfigMap.DefaultMode = ptr(int32(0o600))
	b.prepare(p)
	if got := b.mode(filepath.Join(dir, "b")); got != "-rw-------" {
		t.Errorf("mode %s", got)
	}
	// After a power cut a file may be there and empty.
	_ = os.Truncate(filepath.Join(dir, "b"), 0)
	b.prepare(p)
	if got := b.content(filepath.Join(dir, "b")); got != "2" {
		t.Errorf("damaged: %q", got)
	}
}

// TestReadersSeeOneVersion reads both files of a volume while it changes.
func TestReadersSeeOneVersion(t *testing.T) {
	b := newBench(t)
	p := volumePod(configMapVolume("c", "c"))
	dir := b.path("volumes", "c")
	write := func(n int) {
		b.o.configMaps["c"] = &corev1.ConfigMap{Data: map[string]string{"a": fmt.Sprint(n), "b": fmt.Sprint(n)}}
		b.prepare(p)
	}
	write(0)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			root, err := os.OpenRoot(filepath.Join(dir, "..data"))
			if errors.Is(err, os.ErrNotExist) {
				continue // removed between reading the link and following it
			}
			if err != nil {
				t.Error(err)
				return
			}
			x, err1 := root.ReadFile("a")
			y, err2 := root.ReadFile("b")
			_ = root.Close()
			// The version may be removed meanwhile; it never changes.
			if err1 == nil && err2 == nil && string(x) != string(y) {
				t.Errorf("%s and %s", x, y)
			}
		}
	})
	for n := range 200 {
		write(n)
	}
	close(stop)
	wg.Wait()
}

func TestHostPathTypes(t *testing.T) {
	b := newBench(t)
	dir, file, sock := filepath.Join(b.dir, "d"), filepath.Join(b.dir, "f"), filepath.Join(b.dir, "s")
	_ = os.Mkdir(dir, 0o700)
	_ = os.WriteFile(file, []byte("kept"), 0o600)
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	block := filepath.Join(b.dir, "b")
	if err := unix.Mknod(block, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 250))); err != nil {
		t.Fatal(err)
	}
	const failed = "MountVolume.SetUp failed for volume \"v\" : "
	const check = "hostPath type check failed: "
	for _, tc := range []struct {
		path string
		kind corev1.HostPathType
		want string
	}{
		{dir, corev1.HostPathDirectory, ""}, {file, corev1.HostPathDirectory, check + file + " is not a directory, it's a File"},
		{dir + "/no", corev1.HostPathDirectory, "hostPath type check failed, " + dir + "/no is not a directory, unable to determine its type: path \"" + dir + "/no\" does not exist"},
		{file, corev1.HostPathFile, ""}, {dir, corev1.HostPathFile, check + dir + " is not a file, it's a Directory"},
		{sock, corev1.HostPathSocket, ""}, {file, corev1.HostPathSocket, check + file + " is not a socket file, it's a File"},
		{"/dev/null", corev1.HostPathCharDev, ""}, {block, corev1.HostPathCharDev, check + block + " is not a character device, it's a BlockDevice"},
		{block, corev1.HostPathBlockDev, ""}, {"/dev/null", corev1.HostPathBlockDev, check + "/dev/null is not a block device, it's a CharDevice"},
		{dir + "/a/b", corev1.HostPathDirectoryOrCreate, ""}, {file, corev1.HostPathDirectoryOrCreate, check + file + " is not a directory, it's a File"},
		{dir + "/a/f", corev1.HostPathFileOrCreate, ""}, {file, corev1.HostPathFileOrCreate, ""},
		{dir, corev1.HostPathFileOrCreate, check + dir + " is not a file, it's a Directory"},
		{b.dir + "/no/f", corev1.HostPathFileOrCreate, "open " + b.dir + "/no/f: no such file or directory"},
		{b.dir + "/unset", corev1.HostPathUnset, ""}, {file, "Strange", "Strange is an invalid volume type"},
	} {
		p := volumePod(vol("v", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: tc.path, Type: &tc.kind}}))
		err := b.m.Prepare(t.Context(), p)
		if tc.want == "" {
			if err != nil {
				t.Errorf("%s %q: %v", tc.path, tc.kind, err)
			} else if m := b.mounts(p, 0)["/v"]; m.HostPath != tc.path || !m.Recursive {
				t.Errorf("%+v", m)
			}
			continue
		}
		if !errors.Is(err, pod.ErrConfig) || err.Error() != failed+tc.want {
			t.Errorf("%s %q: %v", tc.path, tc.kind, err)
		}
	}
	if b.mode(dir+"/a/b") != "drwxr-xr-x" || b.mode(dir+"/a/f") != "-rw-r--r--" || b.mode(b.dir+"/unset") != "drwxr-xr-x" || b.content(file) != "kept" {
		t.Error("modes or content")
	}
}

func TestSetIPsKeepsTheInode(t *testing.T) {
	b := newBench(t)
	p := testPod()
	if err := b.m.SetIPs(t.Context(), p, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("not prepared: %v", err)
	}
	b.prepare(p)
	open, err := os.Open(b.path("etc-hosts"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close() }()
	for _, ips := range [][]string{{"10.0.0.5", "fd00::5"}, {"10.0.0.6"}} {
		if err := b.m.SetIPs(t.Context(), p, ips); err != nil {
			t.Fatal(err)
		}
		b.prepare(p) // must not take the IPs away
		got := make([]byte, 4096)
		n, _ := open.ReadAt(got, 0)
		if want := hostsText(p, ips, ""); string(got[:n]) != want {
			t.Errorf("the open file has %q, not %q", got[:n], want)
		}
	}
	b.removed(p)
}

func TestMountOrder(t *testing.T) {
	b := newBench(t)
	p := volumePod(vol("v", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}))
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
		{Name: "v", MountPath: "/data/in/side"}, {Name: "v", MountPath: "/z"}, {Name: "v", MountPath: "/a", ReadOnly: true},
		{Name: "v", MountPath: "/data"}, {Name: "v", MountPath: "/etc/hosts"}, {Name: "v", MountPath: "/etc"},
	}
	p.Spec.Containers[0].TerminationMessagePath = "/end"
	b.prepare(p)
	list, err := b.m.Mounts(t.Context(), p, "app", 3)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range list {
		got = append(got, m.ContainerPath)
	}
	want := []string{"/z", "/a", "/data", "/etc", "/end", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/data/in/side"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !list[1].ReadOnly || list[0].ReadOnly {
		t.Error("readOnly")
	}
	if _, err := b.m.Mounts(t.Context(), p, "nobody", 0); err == nil {
		t.Error("a container that is not there has mounts")
	}
}

func TestTerminationMessage(t *testing.T) {
	b := newBench(t)
	p := testPod()
	b.prepare(p)
	file := b.mounts(p, 2)["/dev/termination-log"].HostPath
	read := func(policy corev1.TerminationMessagePolicy, failed bool) string {
		t.Helper()
		s, err := b.m.ReadTerminationMessage(p.UID, "app", 2, policy, failed, func(lines int, n int64) (string, error) {
			return fmt.Sprint(lines, " ", n, " \xff"), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const file1, logs = corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError
	if got := read(file1, true) + read(logs, false); got != "" {
		t.Errorf("got %q", got)
	}
	if got := read(logs, true); got != "80 2048 \uFFFD" {
		t.Errorf("got %q", got)
	}
	_ = os.WriteFile(file, []byte(strings.Repeat("x", 5000)+"end"), 0)
	if got := read(logs, true); len(got) != 4096 || !strings.HasSuffix(got, "xend") {
		t.Errorf("%d bytes", len(got))
	}
	if again := b.mounts(p, 2)["/dev/termination-log"].HostPath; again != file || len(b.content(file)) != 5003 {
		t.Error("an existing message is lost")
	}
	for range 2 {
		if err := b.m.RemoveAttempt(p.UID, "app", 2); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(file1, true); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestUsage(t *testing.T) {
	b := newBench(t)
	p := volumePod(vol("x", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}))
	of := func() Usage {
		got, err := b.m.Usage(t.Context(), p.UID, []string{"x"})
		if err != nil {
			t.Fatal(err)
		}
		return got["x"]
	}
	if got := of(); got != (Usage{}) {
		t.Errorf("a volume that is not there takes %+v", got)
	}
	b.prepare(p)
	empty := of()
	dir := b.path("volumes", "x")
	_ = os.MkdirAll(filepath.Join(dir, "a/b"), 0o700)
	big := filepath.Join(dir, "a/b/big")
	_ = os.WriteFile(big, make([]byte, 600<<10), 0o600)
	_ = os.Link(big, filepath.Join(dir, "again"))
	_ = os.Symlink("/", filepath.Join(dir, "root"))
	if got := of(); got.Bytes < 600<<10 || got.Bytes > 700<<10 || got.Inodes != empty.Inodes+4 {
		t.Errorf("hard links or links count twice: %+v", got)
	}
	logs := b.path("logs", "app")
	_ = os.MkdirAll(logs, 0o700)
	_ = os.WriteFile(filepath.Join(logs, "0.log"), make([]byte, 5000), 0o600)
	_ = os.WriteFile(filepath.Join(logs, "1.log.gz"), make([]byte, 5000), 0o600)
	if got, err := b.m.LogUsage(t.Context(), p.UID, "app"); err != nil || got.Bytes < 10000 || got.Inodes != 2 {
		t.Errorf("logs %+v, %v", got, err)
	}
}

func TestUIDs(t *testing.T) {
	b := newBench(t)
	pods := filepath.Join(b.dir, "pods")
	for _, d := range []string{"u1", ".removing-u1", ".removing-u2", ".hidden"} {
		_ = os.Mkdir(filepath.Join(pods, d), 0o700)
	}
	_ = os.WriteFile(filepath.Join(pods, "file"), nil, 0o600)
	got, err := b.m.UIDs()
	if d := cmp.Diff([]types.UID{"u1", "u2"}, got); d != "" || err != nil {
		t.Error(d, err)
	}
	for uid, want := range map[types.UID]bool{"u1": true, "u2": true, "u3": false} {
		if got, err := b.m.Present(uid); got != want || err != nil {
			t.Errorf("%s: %v %v", uid, got, err)
		}
	}
	for _, uid := range got {
		if err := b.m.Remove(t.Context(), uid); err != nil {
			t.Error(err)
		}
	}
	if left, _ := b.m.UIDs(); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	for _, bad := range []types.UID{"", "..", "a/b", "../pods"} {
		if err := b.m.Remove(t.Context(), bad); err == nil {
			t.Errorf("%q is removed", bad)
		}
		if err := b.m.Prepare(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: bad}}); err == nil {
			t.Errorf("%q is prepared", bad)
		}
	}
}

func TestFullDisk(t *testing.T) {
	b := newBench(t)
	pods := filepath.Join(b.dir, "pods")
	if err := unix.Mount("tmpfs", pods, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("mounting needs root: %v", err)
	}
	b.o.configMaps["c"] = &corev1.ConfigMap{Data: map[string]string{"a": strings.Repeat("x", 100<<10)}}
	p := volumePod(configMapVolume("c", "c"))
	err := b.m.Prepare(t.Context(), p)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk is full") || errors.Is(err, pod.ErrConfig) {
		t.Errorf("error %v", err)
	}
	if e, _ := os.ReadDir(b.path("volumes", "c")); len(e) != 0 {
		t.Errorf("left %v", e)
	}
	b.o.configMaps["c"].Data["a"] = "small"
	b.prepare(p)
	if err := b.m.Remove(t.Context(), p.UID); err != nil {
		t.Error(err)
	}
}

func TestKeyedLocks(t *testing.T) {
	k := keyedLocks{held: map[types.UID]*keyedLock{}}
	unlock := k.lock("a")
	k.lock("b")()
	got := make(chan struct{})
	go func() { k.lock("a")(); close(got) }()
	select {
	case <-got:
		t.Error("two at a time")
	case <-time.After(20 * time.Millisecond):
	}
	unlock()
	<-got
	if len(k.held) != 0 {
		t.Errorf("left %v", k.held)
	}
}
