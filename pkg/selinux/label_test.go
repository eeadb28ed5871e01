package selinux

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Label{
		"system_u:system_r:container_t:s0:c1,c2":        {"system_u", "system_r", "container_t", "s0:c1,c2"},
		"system_u:system_r:kernel_t:s0-s0:c0.c1023\x00": {"system_u", "system_r", "kernel_t", "s0-s0:c0.c1023"},
		"u:r:t:": {User: "u", Role: "r", Type: "t"},
		"u:r:t":  {User: "u", Role: "r", Type: "t"},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "u:r", "u::t", "u:r:t:s0:", "u:r:t:high", `u:r:t:s0",lowerdir="/`, "u:r:a b:s0", "u:r:t:s0:c1,", "u:r:t:s0:c1.c2.c3"} {
		if l, err := Parse(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %+v, %v", text, l, err)
		}
	}
}

func TestForms(t *testing.T) {
	l := Label{"u", "r", "t", "s0:c1,c2"}
	if got := l.MountOption(); got != `context="u:r:t:s0:c1,c2"` {
		t.Error(got)
	}
	if got := (Label{}).String(); got != "" {
		t.Error(got)
	}
	for level, want := range map[string]string{"": "", "s0": "s0", "s1:c1": "s1", "s2-s3:c1": "s2", "s0:c1-s0:c1,c2": "s0"} {
		if got := Sensitivity(level); got != want {
			t.Errorf("%q: %q", level, got)
		}
	}
}

func TestFor(t *testing.T) {
	policy := Contexts{
		Process: Label{"system_u", "system_r", "box_t", "s0"},
		File:    Label{"system_u", "object_r", "box_file_t", "s0"},
	}
	flat := policy
	flat.Process.Level, flat.File.Level = "", ""
	for name, tc := range map[string]struct {
		policy         Contexts
		own            Label
		level          string
		process, files string
	}{
		"nothing":        {policy, Label{}, "s0:c1,c2", "system_u:system_r:box_t:s0:c1,c2", "system_u:object_r:box_file_t:s0:c1,c2"},
		"no level":       {policy, Label{}, "", "system_u:system_r:box_t:s0", "system_u:object_r:box_file_t:s0"},
		"type":           {policy, Label{Type: "t"}, "s0:c1,c2", "system_u:system_r:t:s0:c1,c2", "system_u:object_r:box_file_t:s0:c1,c2"},
		"level":          {policy, Label{Level: "s0:c3"}, "s0:c1,c2", "system_u:system_r:box_t:s0:c3", "system_u:object_r:box_file_t:s0:c3"},
		"whole":          {policy, Label{"u", "r", "t", "s0"}, "s0:c1,c2", "u:r:t:s0", "u:object_r:box_file_t:s0"},
		"without levels": {flat, Label{Type: "t"}, "s0:c1,c2", "system_u:system_r:t", "system_u:object_r:box_file_t"},
	} {
		process, files, err := tc.policy.For(tc.own, tc.level)
		if err != nil || process.String() != tc.process || files.String() != tc.files {
			t.Errorf("%s: %s and %s, %v", name, process, files, err)
		}
	}
	for _, own := range []Label{{Type: `t"`}, {User: "a b"}, {Role: "r:r"}, {Level: "s0:c1,c2\",upperdir=/"}, {Level: "SystemHigh"}} {
		if _, _, err := policy.For(own, "s0"); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", own, err)
		}
	}
}

func TestContexts(t *testing.T) {
	write := func(root, name, text string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root := t.TempDir()
	if _, err := contextsBelow(root); !errors.Is(err, ErrNoContexts) {
		t.Errorf("nothing there: %v", err)
	}
	write(root, "etc/selinux/config", "# a comment\nSELINUX=enforcing\nSELINUXTYPE = small\n")
	if _, err := contextsBelow(root); !errors.Is(err, ErrNoContexts) {
		t.Errorf("no file of the policy: %v", err)
	}
	const file = "etc/selinux/small/contexts/lxc_contexts"
	write(root, file, "process = \"u:r:p:s0\"\n")
	if _, err := contextsBelow(root); !errors.Is(err, ErrNoContexts) {
		t.Errorf("nothing of files: %v", err)
	}
	write(root, file, "process = \"u:r:p:s0\"\n\n; another\nfile = u:o:f:s0\n")
	want := Contexts{Process: Label{"u", "r", "p", "s0"}, File: Label{"u", "o", "f", "s0"}, ReadOnly: Label{"u", "o", "f", "s0"}}
	if got, err := contextsBelow(root); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	write(root, "usr/share/containers/selinux/contexts", "process = \"u:r:q:s0\"\nfile = \"u:o:f:s0\"\nro_file = \"u:o:r:s0\"\n")
	want.Process.Type, want.ReadOnly.Type = "q", "r"
	if got, err := contextsBelow(root); err != nil || got != want {
		t.Errorf("the shared file: %+v, %v", got, err)
	}
	write(root, "usr/share/containers/selinux/contexts", "process = bad\nfile = \"u:o:f:s0\"\n")
	if _, err := contextsBelow(root); !errors.Is(err, ErrInvalid) {
		t.Errorf("a label that is none: %v", err)
	}
}
