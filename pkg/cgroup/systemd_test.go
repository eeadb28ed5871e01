package cgroup

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/carob-project/carob/pkg/pod"
)

// fakeSlicer makes and removes slices' directories as systemd does.
type fakeSlicer struct {
	hierarchy string
	calls     []string
}

func (f *fakeSlicer) start(_ context.Context, slice string, _ pod.Resources) error {
	f.calls = append(f.calls, "start "+slice)
	return os.MkdirAll(filepath.Join(f.hierarchy, slicePath(slice)), 0o755)
}

func (f *fakeSlicer) stop(_ context.Context, slice string) error {
	f.calls = append(f.calls, "stop "+slice)
	return os.Remove(filepath.Join(f.hierarchy, slicePath(slice)))
}

// The systemd driver on the v2 hierarchy that every machine of ours mounts.
func TestSystemdDriver(t *testing.T) {
	m := newManager(t, func(i *Info) {
		if i.Unified == "" {
			t.Fatal("this test needs a cgroup v2 hierarchy")
		}
		i.Version, i.Mounts, i.Driver = V2, nil, Systemd
	})
	fake := &fakeSlicer{hierarchy: m.info.Unified}
	m.systemd = fake
	root := sliceName(m.root, "")
	level := sliceName(m.root, "kubepods")
	name := PodName(Guaranteed, "5d3c-1")
	slice := m.ParentFor(name)
	for range 2 {
		if err := m.EnsurePod(t.Context(), name, pod.Resources{}); err != nil {
			t.Fatal(err)
		}
	}
	pods, err := m.Pods()
	if diff := cmp.Diff([]string{name}, pods); diff != "" || err != nil {
		t.Errorf("Pods: %v %s", err, diff)
	}
	if !m.Exists(name) {
		t.Error("the group does not exist")
	}
	if err := m.Remove(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := m.RemoveRoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		// The levels once, the pod's own again for its properties.
		"start " + root, "start " + level, "start " + slice, "start " + slice,
		"stop " + slice, "stop " + level, "stop " + root,
	}
	if diff := cmp.Diff(want, fake.calls); diff != "" {
		t.Error(diff)
	}
}
