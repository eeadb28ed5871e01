package folder

import (
	"testing"
	"time"
)

// A rollback is respected until the document changes, and no longer.
func TestRolledBack(t *testing.T) {
	file := Parse("a.yaml", []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\n"))
	d := file.Documents[0]
	for _, c := range []struct {
		what             string
		hash, rolledBack string
		state            State
		due              bool
	}{
		{"taken back", d.Hash, d.Hash, RolledBack, false},
		{"another document was taken back", d.Hash, "other", Pending, true},
		{"another document was applied since", "other", d.Hash, Pending, true},
		{"nothing was taken back", d.Hash, "", Pending, true},
	} {
		m := Member{Key: d.Key, File: "a.yaml", Hash: c.hash, RolledBack: c.rolledBack, Owned: "less"}
		p := Decide(Input{Files: []File{file}, Members: map[Key]Member{d.Key: m}, Now: time.Unix(1e9, 0)})
		if due := len(p.Apply) > 0; due != c.due || p.Rows[0].State != c.state {
			t.Errorf("%s: due %v, %+v", c.what, due, p.Rows)
		}
	}
}

// What others change again and again is brought back ever later.
func TestBroughtBack(t *testing.T) {
	file := Parse("a.yaml", []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\n"))
	d, now := file.Documents[0], time.Unix(1e9, 0)
	in := Input{
		Files: []File{file}, Now: now,
		Members:  map[Key]Member{d.Key: {Key: d.Key, File: "a.yaml", Hash: d.Hash, Owned: "less"}},
		Attempts: map[Key]Attempt{d.Key: {Hash: d.Hash, File: "a.yaml", Owned: "all", After: now.Add(time.Minute)}},
	}
	if p := Decide(in); len(p.Apply) != 0 || p.After != time.Minute {
		t.Errorf("too early: %+v", p)
	}
	in.Now = now.Add(time.Minute)
	if p := Decide(in); len(p.Apply) != 1 {
		t.Errorf("not brought back: %+v", p)
	}
}
