package ctrd

import (
	"os"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/carob-project/carob/pkg/eviction"
	"github.com/carob-project/carob/pkg/pod"
)

// Only what was pulled and is not used may be collected, and the last use is
// known to the next process.
func TestStoredImages(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	reg := newRegistry(t)
	img := buildImage(t, nil)
	other := buildImage(t, func(c *v1.ConfigFile) { c.Author = "another" })
	used, idle := reg.push(t, "one/used:1", img), reg.push(t, "one/idle:1", other)
	for _, ref := range []string{used, idle} {
		if _, err := r.Pull(t.Context(), ref, pod.PullOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Import(t.Context(), archiveOf(t, "example.com/imported:1", other), nil); err != nil {
		t.Fatal(err)
	}
	req, _ := b.request(t, newUID(), "dd if=/dev/zero of=/big bs=1M count=3; sleep 1000")
	req.ImageName = used
	id := run(t, r, req)
	stored := func(r *Runtime) map[string]eviction.StoredImage {
		list, err := r.StoredImages(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]eviction.StoredImage{}
		for _, i := range list {
			name, _, _ := strings.Cut(i.Name[strings.LastIndex(i.Name, "/")+1:], ":")
			out[name] = i
		}
		return out
	}
	got := stored(r)
	if i := got["used"]; !i.InUse || i.Kept || i.Size == 0 || time.Since(i.LastUsed) > time.Minute || time.Since(i.Created) > time.Minute {
		t.Errorf("used: %+v", i)
	}
	if i := got["idle"]; i.InUse || i.Kept || !i.LastUsed.IsZero() {
		t.Errorf("idle: %+v", i)
	}
	if i := got["imported"]; !i.Kept {
		t.Errorf("imported: %+v", i)
	}
	eventually(t, "what it wrote is counted", func() bool {
		bytes, inodes, err := r.LayerUse(t.Context(), id)
		return err == nil && bytes >= 3<<20 && inodes > 0
	})
	if root, err := r.ImageRoot(t.Context()); err != nil {
		t.Error(err)
	} else if _, err := os.Stat(root); err != nil {
		t.Error(err)
	}
	if err := r.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	again := stored(b.connect(t))
	if i := again["used"]; i.InUse || time.Since(i.LastUsed) > time.Minute {
		t.Errorf("later: %+v", i)
	}
}
