package ctrd

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestFeaturesAreAskedOncePerVersion(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "oci")
	write := func(options string) {
		text := "#!/bin/sh\necho asked >> " + dir + "/log\necho '{\"mountOptions\": [" + options + "]}'\n"
		if err := os.WriteFile(program, []byte(text), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	var c featureCache
	for options, want := range map[string][]string{`"ro"`: {"ro"}, `"ro", "rro"`: {"ro", "rro"}} {
		write(options)
		for range 2 {
			f, err := c.ask(t.Context(), program)
			if err != nil || !slices.Equal(f.MountOptions, want) {
				t.Errorf("%v %v, want %v", f.MountOptions, err, want)
			}
		}
	}
	if log, _ := os.ReadFile(filepath.Join(dir, "log")); string(log) != "asked\nasked\n" {
		t.Errorf("asked: %q", log)
	}
	if _, err := c.ask(t.Context(), filepath.Join(dir, "none")); err == nil {
		t.Error("a program that is not there tells something")
	}
}
