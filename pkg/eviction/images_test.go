package eviction_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/carob-project/carob/pkg/eviction"
)

func TestToFree(t *testing.T) {
	p := eviction.DefaultImagePolicy()
	for _, tc := range []struct{ available, bytes, used int64 }{
		{20, 0, 80}, {16, 0, 84}, {15, 5, 85}, {5, 15, 95}, {0, 20, 100}, {200, 0, 0},
	} {
		if bytes, used := p.ToFree(eviction.FileSystem{Capacity: 100, Available: tc.available}); bytes != tc.bytes || used != tc.used {
			t.Errorf("%d left: %d to free, %d %% used", tc.available, bytes, used)
		}
	}
	if bytes, _ := p.ToFree(eviction.FileSystem{}); bytes != 0 {
		t.Error("of a disk that cannot be read")
	}
}

func TestCollect(t *testing.T) {
	ago := func(minutes int) time.Time { return t0.Add(-time.Duration(minutes) * time.Minute) }
	images := []eviction.StoredImage{
		{Name: "used", Size: 10, Created: ago(90), InUse: true},
		{Name: "imported", Size: 10, Created: ago(90), Kept: true},
		{Name: "lately", Size: 10, Created: ago(90), LastUsed: ago(1)},
		{Name: "long ago", Size: 10, Created: ago(80), LastUsed: ago(60)},
		{Name: "never", Size: 10, Created: ago(70)},
		{Name: "never, older", Size: 10, Created: ago(90)},
		{Name: "fresh", Size: 10, Created: ago(1)},
	}
	p := eviction.DefaultImagePolicy()
	for bytes, want := range map[int64]string{
		0: "", 1: "never, older;", 11: "never, older;never;", 25: "never, older;never;long ago;",
		1 << 40: "never, older;never;long ago;lately;",
	} {
		got := ""
		for _, i := range p.Collect(images, bytes, t0) {
			got += i.Name + ";"
		}
		if got != want {
			t.Errorf("%d bytes: %s, want %s", bytes, got, want)
		}
	}
	if got := p.Old(images, t0); got != nil {
		t.Errorf("without an age: %v", got)
	}
	p.MaxAge = 65 * time.Minute
	if got := p.Old(images, t0); len(got) != 2 || got[0].Name != "never, older" || got[1].Name != "never" {
		t.Errorf("too old: %v", got)
	}
	if got := eviction.NotEnough(91, 250<<30, 12); got != "Insufficient free disk space on the node's image filesystem (91% of 250.0 GiB used). "+
		"Failed to free sufficient space by deleting unused images (freed 12 bytes). "+
		"Investigate disk usage, as it could be used by active images, logs, volumes, or other data." {
		t.Error(got)
	}
}

// What is used or kept stays, and no more goes than has to.
func TestCollectProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	p := eviction.DefaultImagePolicy()
	for range 2000 {
		var images []eviction.StoredImage
		for i := range rnd.IntN(8) {
			images = append(images, eviction.StoredImage{
				Name: string(rune('a' + i)), Size: rnd.Int64N(50), Created: t0.Add(-time.Duration(rnd.IntN(10)) * time.Minute),
				InUse: rnd.IntN(3) == 0, Kept: rnd.IntN(3) == 0,
			})
		}
		bytes := rnd.Int64N(100)
		var freed int64
		for _, i := range p.Collect(images, bytes, t0) {
			if i.InUse || i.Kept || t0.Sub(i.Created) < p.MinAge {
				t.Fatalf("%+v goes", i)
			}
			if freed >= bytes {
				t.Fatalf("%+v goes for nothing", i)
			}
			freed += i.Size
		}
	}
}
