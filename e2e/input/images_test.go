package input

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/carob-project/carob/e2e/harness"
	"github.com/carob-project/carob/internal/testimage"
)

// otherArchitecture is one that this machine has not.
func otherArchitecture() string {
	if runtime.GOARCH == "arm64" {
		return "amd64"
	}
	return "arm64"
}

// serveImages starts a registry on a loopback port and returns its address.
func serveImages(t *testing.T, images map[string]testimage.Options) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	address := strings.TrimPrefix(s.URL, "http://")
	for tag, o := range images {
		img, err := testimage.Build(o)
		if err != nil {
			t.Fatal(err)
		}
		repository, version, _ := strings.Cut(tag, ":")
		push(t, s.URL+"/v2/"+repository, version, img)
	}
	return address
}

// push uploads layers, configuration and manifest.
func push(t *testing.T, base, version string, img v1.Image) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		send(t, http.MethodPost, base+"/blobs/uploads/?digest="+digest.String(), "application/octet-stream", r)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	name, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	send(t, http.MethodPost, base+"/blobs/uploads/?digest="+name.String(), "application/octet-stream", bytes.NewReader(config))
	manifest, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	kind, err := img.MediaType()
	if err != nil {
		t.Fatal(err)
	}
	send(t, http.MethodPut, base+"/manifests/"+version, string(kind), bytes.NewReader(manifest))
}

func send(t *testing.T, method, url, kind string, body io.Reader) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s: %s: %s", method, url, resp.Status, answer)
	}
}

func onePod(name, image, more string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {terminationGracePeriodSeconds: 1, containers: [{name: a, image: '%s', command: [sleep, '100000']%s}]}\n", name, image, more)
}

// eventsSay waits until every text is in the events of a pod, each with its
// reason: "Pulled Successfully pulled".
func eventsSay(t *testing.T, c *harness.Carob, pod string, want ...string) {
	t.Helper()
	harness.Eventually(t, 40*time.Second, func() string {
		out := c.K(t, "get", "events", "--field-selector", "involvedObject.name="+pod, "-o", `jsonpath={range .items[*]}{.reason} {.message}{"\n"}{end}`)
		for _, w := range want {
			if !strings.Contains("\n"+out, "\n"+w) {
				return fmt.Sprintf("no %q in\n%s", w, out)
			}
		}
		return ""
	})
}

func waitingFor(t *testing.T, c *harness.Carob, pod, reason string, texts ...string) {
	t.Helper()
	harness.Eventually(t, 40*time.Second, func() string {
		got := c.Get(t, "pod", pod, "{.status.containerStatuses[0].state.waiting.reason}: {.status.containerStatuses[0].state.waiting.message}")
		for _, w := range append([]string{reason + ": "}, texts...) {
			if !strings.Contains(got, w) {
				return fmt.Sprintf("no %q in %s", w, got)
			}
		}
		return ""
	})
}

func TestImportOfAnImageForAnotherMachine(t *testing.T) {
	c := harness.New(t)
	c.Up(t)
	file := filepath.Join(c.Dir, "other.tar")
	f, err := os.Create(file) //nolint:gosec // a directory of the test
	if err != nil {
		t.Fatal(err)
	}
	if err := testimage.WriteTar(f, "example.org/other:1", testimage.Options{Architecture: otherArchitecture()}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := c.Run("image", "import", file)
	for _, w := range []string{"example.org/other:1", "it is for linux/" + otherArchitecture(), "this machine is linux/" + runtime.GOARCH} {
		if err == nil || !strings.Contains(out, w) {
			t.Errorf("%v, no %q in %s", err, w, out)
		}
	}
	if out := c.Must(t, "image", "list"); strings.Contains(out, "other") {
		t.Errorf("it was stored:\n%s", out)
	}
}

func TestImagesOfARegistry(t *testing.T) {
	address := serveImages(t, map[string]testimage.Options{
		"tools/busybox:1": {},
		"other:1":         {Architecture: otherArchitecture()},
	})
	c := harness.New(t)
	c.Up(t)

	good := address + "/tools/busybox:1"
	c.Apply(t, onePod("good", good, ""))
	c.WaitReady(t, "good")
	eventsSay(t, c, "good", `Pulling Pulling image "`+good+`"`, `Pulled Successfully pulled image "`+good+`" in `, "Created ", "Started ")
	if out := c.K(t, "get", "events", "--field-selector", "involvedObject.name=good,reason=Pulled"); !strings.Contains(out, "Image size: ") || !strings.Contains(out, " bytes.") {
		t.Errorf("no size in\n%s", out)
	}
	if id := c.Get(t, "pod", "good", "{.status.containerStatuses[0].imageID}"); !strings.HasPrefix(id, address+"/tools/busybox@sha256:") {
		t.Errorf("imageID %q", id)
	}

	for _, image := range []string{address + "/none:1", address + "/tools/busybox:none"} {
		t.Run("missing", func(t *testing.T) {
			c.Apply(t, onePod("missing", image, ""))
			eventsSay(t, c, "missing", `Pulling Pulling image "`+image+`"`, `Failed Failed to pull image "`+image+`": `, "Failed Error: ErrImagePull",
				`BackOff Back-off pulling image "`+image+`"`, "Failed Error: ImagePullBackOff")
			waitingFor(t, c, "missing", "ImagePullBackOff", `Back-off pulling image "`+image+`": ErrImagePull: `, "not found")
			if phase := c.Get(t, "pod", "missing", "{.status.phase}"); phase != "Pending" {
				t.Errorf("phase %s", phase)
			}
			c.K(t, "delete", "pod", "missing", "--timeout=30s")
			c.K(t, "delete", "events", "--all")
		})
	}

	other := address + "/other:1"
	c.Apply(t, onePod("other", other, ""))
	text := "it is for linux/" + otherArchitecture() + ", this machine is linux/" + runtime.GOARCH
	waitingFor(t, c, "other", "", `"`+other+`"`, text)
	harness.Eventually(t, 10*time.Second, func() string {
		out := c.K(t, "get", "events", "--field-selector", "involvedObject.name=other,reason=Failed")
		if !strings.Contains(out, text) {
			return "got " + out
		}
		return ""
	})
	if got := c.Get(t, "pod", "other", `{.status.conditions[?(@.type=="ContainersReady")].message}`); got != "containers with unready status: [a]" {
		t.Errorf("condition: %s", got)
	}
}

func TestAMissingImageThatIsImportedLater(t *testing.T) {
	c := harness.New(t)
	c.Up(t)
	c.Apply(t, onePod("never", harness.Image, ", imagePullPolicy: Never"))
	waitingFor(t, c, "never", "ErrImageNeverPull", `Container image "busybox:1.35" is not present with pull policy of Never`)
	eventsSay(t, c, "never", "ErrImageNeverPull Container image ", "Failed Error: ErrImageNeverPull")
	c.Import(t)
	c.WaitReady(t, "never")
}

func TestAnImageNameThatIsNone(t *testing.T) {
	c := harness.New(t)
	c.Up(t)
	c.Apply(t, onePod("name", "Upper/Case::1", ""))
	waitingFor(t, c, "name", "InvalidImageName", `Failed to apply default image tag "Upper/Case::1": couldn't parse image name "Upper/Case::1": `)
	eventsSay(t, c, "name", `InspectFailed Failed to apply default image tag "Upper/Case::1": `, "Failed Error: InvalidImageName")
}
