package eviction

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// FileSystem is what there is of a disk and what is left.
type FileSystem struct {
	Capacity, Available int64
	Inodes, InodesFree  int64
	// Own: it is not the one of volumes and logs.
	Own bool
}

// StoredImage is an image on the node.
type StoredImage struct {
	Name string
	Size int64
	// Created is when it came to the node, LastUsed when a container was last
	// seen to use it; zero: never.
	Created, LastUsed time.Time
	// InUse: a container was made from it, or is about to be.
	InUse bool
	// Kept: it is pinned, was imported by hand, or is another's.
	Kept bool
}

// ImagePolicy says when unused images go.
type ImagePolicy struct {
	// HighPercent of the disk in use begins a collection, which ends at
	// LowPercent.
	HighPercent, LowPercent int64
	// MinAge is how long an image stays after it came; MaxAge how long after
	// its last use, for ever where it is zero.
	MinAge, MaxAge time.Duration
}

// DefaultImagePolicy is that of Kubernetes.
func DefaultImagePolicy() ImagePolicy {
	return ImagePolicy{HighPercent: 85, LowPercent: 80, MinAge: 2 * time.Minute}
}

// ToFree returns how many bytes have to go; 0: none. used is in percent.
func (p ImagePolicy) ToFree(fs FileSystem) (bytes, used int64) {
	if fs.Capacity <= 0 {
		return 0, 0
	}
	available := min(fs.Available, fs.Capacity)
	used = 100 - available*100/fs.Capacity
	if used < p.HighPercent {
		return 0, used
	}
	return max(fs.Capacity*(100-p.LowPercent)/100-available, 0), used
}

// Collect returns the images to remove, in this order, to free that many bytes:
// the least recently used first, of equal ones the oldest.
func (p ImagePolicy) Collect(images []StoredImage, bytes int64, now time.Time) []StoredImage {
	var out []StoredImage
	for _, i := range inOrder(images) {
		if bytes <= 0 {
			break
		}
		if now.Sub(i.Created) < p.MinAge || !i.LastUsed.Before(now) {
			continue
		}
		out = append(out, i)
		bytes -= i.Size
	}
	return out
}

// Old returns the images that have not been used for too long.
func (p ImagePolicy) Old(images []StoredImage, now time.Time) []StoredImage {
	if p.MaxAge <= 0 {
		return nil
	}
	return slices.DeleteFunc(inOrder(images), func(i StoredImage) bool {
		last := i.LastUsed
		if last.Before(i.Created) {
			last = i.Created
		}
		return now.Sub(last) <= p.MaxAge
	})
}

// inOrder returns what may be removed at all.
func inOrder(images []StoredImage) []StoredImage {
	out := slices.DeleteFunc(slices.Clone(images), func(i StoredImage) bool { return i.InUse || i.Kept })
	slices.SortStableFunc(out, func(a, b StoredImage) int {
		return cmp.Or(a.LastUsed.Compare(b.LastUsed), a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// NotEnough is the text where too little could be freed.
func NotEnough(used, capacity, freed int64) string {
	return fmt.Sprintf("Insufficient free disk space on the node's image filesystem (%d%% of %s used). "+
		"Failed to free sufficient space by deleting unused images (freed %d bytes). "+
		"Investigate disk usage, as it could be used by active images, logs, volumes, or other data.",
		used, size(capacity), freed)
}

func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB"}
	unit := -1
	for f >= 1024 && unit < len(units)-1 {
		f, unit = f/1024, unit+1
	}
	return fmt.Sprintf("%.1f %s", f, units[unit])
}
