package ctrd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	gcrtypes "github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/carob-project/carob/pkg/pod"
)

// testRegistry serves from memory and counts the blobs that are fetched.
type testRegistry struct {
	host  string
	blobs atomic.Int64
}

func newRegistry(t *testing.T) *testRegistry {
	t.Helper()
	r := &testRegistry{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") {
			r.blobs.Add(1)
		}
		handler.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

// push stores an image under a reference such as repo/name:tag.
func (r *testRegistry) push(t *testing.T, ref string, img v1.Image) string {
	t.Helper()
	repo, tag, _ := strings.Cut(ref, ":")
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		blob, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		digest, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		r.upload(t, repo, digest, blob)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	r.upload(t, repo, digest, bytes.NewReader(config))
	r.manifest(t, repo, tag, img)
	return r.host + "/" + ref
}

// pushIndex stores images by their architecture behind one reference.
func (r *testRegistry) pushIndex(t *testing.T, ref string, images map[string]v1.Image) string {
	t.Helper()
	repo, tag, _ := strings.Cut(ref, ":")
	index := v1.ImageIndex(empty.Index)
	for arch, img := range images {
		r.push(t, repo+":"+arch, img)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	r.manifest(t, repo, tag, index)
	return r.host + "/" + ref
}

func (r *testRegistry) upload(t *testing.T, repo string, digest v1.Hash, blob io.Reader) {
	t.Helper()
	r.put(t, http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+digest.String(), "application/octet-stream", blob)
}

func (r *testRegistry) manifest(t *testing.T, repo, tag string, m interface {
	RawManifest() ([]byte, error)
	MediaType() (gcrtypes.MediaType, error)
}) {
	t.Helper()
	raw, err := m.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	mediaType, err := m.MediaType()
	if err != nil {
		t.Fatal(err)
	}
	r.put(t, http.MethodPut, "/v2/"+repo+"/manifests/"+tag, string(mediaType), bytes.NewReader(raw))
}

func (r *testRegistry) put(t *testing.T, method, path, contentType string, body io.Reader) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.host+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

func forArch(t *testing.T, arch string) v1.Image {
	t.Helper()
	return buildImage(t, func(cf *v1.ConfigFile) { cf.Architecture = arch })
}

func TestPull(t *testing.T) {
	b := newBench(t)
	r := b.connect(t)
	reg := newRegistry(t)
	native := buildImage(t, nil)
	single := reg.push(t, "one/busy:v1", native)
	multi := reg.pushIndex(t, "many/busy:v1", map[string]v1.Image{"arm64": forArch(t, "arm64"), "amd64": native})

	var mu sync.Mutex
	var told []string
	img, err := r.Pull(t.Context(), single, pod.PullOptions{Progress: func(s string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, s)
	}})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := native.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if want := reg.host + "/one/busy@" + digest.String(); img.Name != single || img.ID != want || img.Size == 0 {
		t.Errorf("pulled %+v, want ID %s", img, want)
	}
	if len(told) == 0 || !strings.Contains(told[0], " of ") {
		t.Errorf("progress: %q", told)
	}
	for _, ref := range []string{single, reg.host + "/one/busy@" + digest.String()} {
		got, found, err := r.Present(t.Context(), ref)
		if err != nil || !found || got.ID != img.ID {
			t.Errorf("Present(%s) = %+v, %v, %v", ref, got, found, err)
		}
	}
	if _, err := r.Pull(t.Context(), multi, pod.PullOptions{}); err != nil {
		t.Errorf("pull of an index: %v", err)
	}
	req, _ := b.request(t, newUID(), "exit 9")
	req.ImageName = multi
	if x := waitExit(t, r, run(t, r, req)); x.Code != 9 {
		t.Errorf("exit = %+v", x)
	}
	if err := r.RemoveImage(t.Context(), multi); !errors.Is(err, ErrImageInUse) {
		t.Errorf("removing an image in use = %v", err)
	}
	if err := r.RemoveImage(t.Context(), single); err != nil {
		t.Error(err)
	}
	if _, found, err := r.Present(t.Context(), single); found || err != nil {
		t.Errorf("Present of a removed image = %v, %v", found, err)
	}
	if all, err := r.ListImages(t.Context()); err != nil || len(all) != 1 || all[0].Name != multi {
		t.Errorf("images: %+v, %v", all, err)
	}
}

func TestPullErrors(t *testing.T) {
	b := newBench(t)
	r := b.connect(t)
	reg := newRegistry(t)
	foreign := reg.push(t, "foreign:v1", forArch(t, "arm64"))
	foreignIndex := reg.pushIndex(t, "foreigns:v1", map[string]v1.Image{"arm64": forArch(t, "arm64"), "s390x": forArch(t, "s390x")})
	reg.blobs.Store(0)
	for _, tc := range []struct {
		name, ref string
		want      error
	}{
		{"missing", reg.host + "/missing:v1", pod.ErrNotFound},
		{"malformed", "Not A:Reference", pod.ErrImageName},
		{"foreign", foreign, pod.ErrImagePlatform},
		{"foreign index", foreignIndex, pod.ErrImagePlatform},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := r.Pull(t.Context(), tc.ref, pod.PullOptions{})
			if !errors.Is(err, tc.want) {
				t.Errorf("Pull = %v, want %v", err, tc.want)
			}
			if errors.Is(err, pod.ErrUnavailable) {
				t.Error("a registry's answer is taken for containerd's absence")
			}
		})
	}
	// Only the configuration of the first: no layer of a foreign image.
	if n := reg.blobs.Load(); n > 1 {
		t.Errorf("%d blobs were fetched for images that cannot run", n)
	}
	if _, err := r.Pull(t.Context(), "127.0.0.1:1/nobody:v1", pod.PullOptions{}); err == nil || errors.Is(err, pod.ErrUnavailable) {
		t.Errorf("Pull from where nobody listens = %v", err)
	}
	if all, err := r.ListImages(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("images: %+v, %v", all, err)
	}
}

func TestPullsOfOneImageAreShared(t *testing.T) {
	b := newBench(t)
	r := b.connect(t)
	reg := newRegistry(t)
	img, err := random.Image(1<<20, 2)
	if err != nil {
		t.Fatal(err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	ref := reg.push(t, "shared:v1", img)
	reg.blobs.Store(0)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if _, err := r.Pull(t.Context(), ref, pod.PullOptions{Progress: func(string) {}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := reg.blobs.Load(); n != 3 {
		t.Errorf("%d blobs fetched, want 3: two layers and a configuration, once", n)
	}
}

func TestImport(t *testing.T) {
	b := newBench(t)
	r := b.connect(t)
	img := buildImage(t, nil)
	stored, err := r.Import(t.Context(), archiveOf(t, "busy:v2", img), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if len(stored) != 1 || stored[0].Name != "docker.io/library/busy:v2" || stored[0].ID != config.String() {
		t.Errorf("imported %+v, want ID %s", stored, config)
	}
	if got, found, err := r.Present(t.Context(), "busy:v2"); err != nil || !found || got != stored[0] {
		t.Errorf("Present = %+v, %v, %v", got, found, err)
	}
	// Again, and another one under the same name.
	if _, err := r.Import(t.Context(), archiveOf(t, "busy:v2", img), nil); err != nil {
		t.Error(err)
	}
	other := buildImage(t, func(cf *v1.ConfigFile) { cf.Config.Env = []string{"NEW=1"} })
	if _, err := r.Import(t.Context(), archiveOf(t, "busy:v2", other), nil); err != nil {
		t.Error(err)
	}
	info, err := r.image(r.scoped(t.Context()), "busy:v2")
	if err != nil || len(info.config.Env) != 1 || info.config.Env[0] != "NEW=1" {
		t.Errorf("after the import of another image: %+v, %v", info, err)
	}
	if err := r.RemoveInstance(t.Context(), true); err != nil {
		t.Error(err)
	}
	if all, err := r.ListImages(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("images left: %+v, %v", all, err)
	}
}

func TestImportRefuses(t *testing.T) {
	b := newBench(t)
	r := b.connect(t)
	if _, err := r.Import(t.Context(), archiveOf(t, "busy:arm", forArch(t, "arm64")), nil); !errors.Is(err, pod.ErrImagePlatform) {
		t.Errorf("import of a foreign image = %v", err)
	}
	if _, err := r.Import(t.Context(), strings.NewReader("this is no archive"), nil); err == nil {
		t.Error("import of nonsense succeeded")
	}
	whole := archiveOf(t, "busy:cut", buildImage(t, nil)).Bytes()
	if _, err := r.Import(t.Context(), bytes.NewReader(whole[:len(whole)/2]), nil); err == nil {
		t.Error("import of half an archive succeeded")
	}
	if all, err := r.ListImages(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("images: %+v, %v", all, err)
	}
}

func TestImagesOnlyConnection(t *testing.T) {
	b := newBench(t)
	r, err := Connect(t.Context(), Options{Address: b.child.Address(), Namespace: "carob-test", Instance: b.instance, ImagesOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if _, err := r.Import(t.Context(), archiveOf(t, testImage, buildImage(t, nil)), nil); err != nil {
		t.Fatal(err)
	}
	if _, found, err := r.Present(t.Context(), testImage); err != nil || !found {
		t.Errorf("Present = %v, %v", found, err)
	}
	if _, err := r.List(context.Background()); err == nil {
		t.Error("List works on a connection that does not watch")
	}
	if v, err := r.Version(t.Context()); err != nil || v == "" {
		t.Errorf("Version = %q, %v", v, err)
	}
}
