package killtree

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDescendants(t *testing.T) {
	all := []Process{
		{PID: 1}, {PID: 10, Parent: 1, Session: 10}, {PID: 11, Parent: 10, Session: 10},
		{PID: 12, Parent: 11, Session: 12}, // a session of its own
		{PID: 13, Parent: 1, Session: 10},  // lost its parent
		{PID: 20, Parent: 1, Session: 20},
	}
	if diff := cmp.Diff([]int{10, 11, 12, 13}, descendants(all, 10, nil)); diff != "" {
		t.Error(diff)
	}
	known := map[int]bool{10: true, 11: true, 13: true}
	if diff := cmp.Diff([]int{12}, descendants(all, 10, known)); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (a) b) S 1 7 7 0 -1"))
	f.Add([]byte("7 (sh"))
	f.Fuzz(func(t *testing.T, line []byte) { parseStat(7, line) })
}

func TestParseStat(t *testing.T) {
	p, ok := parseStat(7, []byte("7 (a) (b) S 3 4 5 0 -1"))
	if !ok || p.state != 'S' || p.Process != (Process{7, 3, 5}) {
		t.Errorf("%+v %v", p, ok)
	}
}
