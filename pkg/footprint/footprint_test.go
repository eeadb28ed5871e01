package footprint

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDue(t *testing.T) {
	const mib = 1 << 20
	type sample struct {
		cpu      time.Duration // in 2 s
		resident int64
		due      bool
	}
	for name, samples := range map[string][]sample{
		"after the start": {
			{cpu: time.Second, resident: 150 * mib}, {resident: 150 * mib}, {resident: 150 * mib, due: true}, {resident: 60 * mib},
		},
		"a busy process is left alone": {
			{cpu: time.Second, resident: 100 * mib}, {cpu: time.Second, resident: 200 * mib}, {cpu: 200 * time.Millisecond, resident: 200 * mib},
		},
		"quiet only for a moment": {
			{resident: 100 * mib}, {cpu: time.Second, resident: 100 * mib}, {resident: 100 * mib}, {resident: 100 * mib, due: true},
		},
		"not again so soon": {
			{resident: 100 * mib}, {resident: 100 * mib, due: true}, {cpu: time.Second, resident: 100 * mib},
			{resident: 100 * mib}, {resident: 100 * mib}, {resident: 100 * mib},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var d decider
			last := usage{at: time.Unix(0, 0)}
			for i, s := range samples {
				now := usage{at: last.at.Add(2 * time.Second), cpu: last.cpu + s.cpu, resident: s.resident}
				got := d.due(last, now)
				if got != s.due {
					t.Fatalf("sample %d: due = %v, want %v", i, got, s.due)
				}
				if last = now; got {
					last.resident = 60 * mib
					d.gaveBack(last)
				}
			}
		})
	}
}

func TestDueAgain(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		burst    bool
		resident int64
		due      bool
	}{
		"after a burst that has left something":           {burst: true, resident: 100 * mib, due: true},
		"not after a burst that has left next to nothing": {burst: true, resident: 65 * mib},
		"not for what a quiet process takes":              {resident: 100 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			last := usage{at: time.Unix(0, 0), resident: 60 * mib}
			begin := last.at
			var d decider
			d.gaveBack(last)
			times := 0
			for i := range 90 {
				now := usage{at: last.at.Add(sampleEvery), cpu: last.cpu, resident: c.resident}
				if c.burst && i == 0 {
					now.cpu += time.Second
				}
				if d.due(last, now) {
					times++
					if since := now.at.Sub(begin); since < leastGap {
						t.Fatalf("due after %v", since)
					}
					d.gaveBack(usage{at: now.at, resident: 60 * mib})
				}
				last = now
			}
			if want := map[bool]int{true: 1}[c.due]; times != want {
				t.Errorf("due %d times, want %d", times, want)
			}
		})
	}
}

func TestGrowth(t *testing.T) {
	var d decider
	last := usage{at: time.Unix(0, 0)}
	var got []int
	for _, cpu := range []time.Duration{time.Second, 0, 0, 0, time.Second, time.Second, 0, 0} {
		now := usage{at: last.at.Add(sampleEvery), cpu: last.cpu + cpu}
		d.due(last, now)
		last = now
		if d.turned() {
			got = append(got, d.growth())
		} else {
			got = append(got, 0)
		}
	}
	if diff := cmp.Diff([]int{0, 0, quietGrowth, 0, burstGrowth, 0, 0, quietGrowth}, got); diff != "" {
		t.Error(diff)
	}
}

const sampleSmaps = `00400000-01d7b000 r--p 00000000 fe:00 10544210                           /opt/my program (deleted)
Size:              26092 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd mr mw me
01d7b000-04b6d000 r-xp 0197b000 fe:00 10544210                           /opt/my program (deleted)
Anonymous:             4 kB
Swap:                  0 kB
04b6d000-04b6e000 r--p 0197b000 fe:00 10544210                           /opt/my program (deleted)
Anonymous:             0 kB
c000000000-c004000000 rw-p 00000000 00:00 0
Anonymous:          8000 kB
Swap:                 16 kB
`

func TestReadMappings(t *testing.T) {
	all, err := readMappings(strings.NewReader(sampleSmaps))
	if err != nil {
		t.Fatal(err)
	}
	const path = "/opt/my program (deleted)"
	want := []mapping{
		{start: 0x400000, end: 0x1d7b000, perms: "r--p", path: path},
		{start: 0x1d7b000, end: 0x4b6d000, perms: "r-xp", path: path, own: 4},
		{start: 0x4b6d000, end: 0x4b6e000, perms: "r--p", path: path, own: 1}, // its swap is not told
		{start: 0xc000000000, end: 0xc004000000, perms: "rw-p", own: 8016},
	}
	if d := cmp.Diff(want, all, cmp.AllowUnexported(mapping{})); d != "" {
		t.Error(d)
	}
	for i, m := range all {
		if got, want := m.clean(), i == 0; got != want {
			t.Errorf("mapping %d: clean = %v, want %v", i, got, want)
		}
	}
}

func FuzzReadMappings(f *testing.F) {
	f.Add(sampleSmaps)
	f.Add("1-0 r--p 0 0 0\n")
	f.Add("Anonymous: 1\n")
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = readMappings(strings.NewReader(text))
	})
}

// The test's own program is dropped and goes on.
func TestGiveBack(t *testing.T) {
	before := program(t)
	if err := GiveBack(); err != nil {
		t.Fatal(err)
	}
	after := program(t)
	if after >= before {
		t.Errorf("%d KiB of the program are mapped after GiveBack, %d before", after, before)
	}
}

// program returns how much of the program's file is mapped, in KiB.
func program(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	kib := map[string]int{}
	for line := range strings.Lines(string(data)) {
		var n int
		name, rest, _ := strings.Cut(line, ":")
		for _, r := range strings.TrimSpace(rest) {
			if r < '0' || r > '9' {
				break
			}
			n = 10*n + int(r-'0')
		}
		kib[name] = n
	}
	return kib["Rss"] - kib["Anonymous"]
}
