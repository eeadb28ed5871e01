package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(100-i))
	}
	for _, c := range []struct {
		values []time.Duration
		q      float64
		want   time.Duration
	}{
		{nil, 0.5, 0}, {[]time.Duration{7}, 0.99, 7}, {[]time.Duration{3, 1, 2}, 0.5, 2},
		{hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred[:50], 0.99, 100}, {hundred, 0, 1}, {hundred, 1, 100},
	} {
		if got := quantile(c.values, c.q); got != c.want {
			t.Errorf("quantile %v of %d values = %d, want %d", c.q, len(c.values), got, c.want)
		}
	}
}

func TestOnlyPodman(t *testing.T) {
	for name, c := range map[string]struct {
		table string
		want  bool
	}{
		"podman's": {`table ip filter {
	chain NETAVARK_FORWARD {
		ip daddr 10.89.0.0/24 ct state related,established counter packets 0 bytes 0 accept
	}
	chain FORWARD {
		type filter hook forward priority filter; policy accept;
		 counter packets 0 bytes 0 jump NETAVARK_FORWARD
	}
}`, true},
		"empty": {"table ip6 nat {\n}", true},
		"somebody's rule in a built-in chain": {`table ip filter {
	chain INPUT {
		type filter hook input priority filter; policy accept;
		ip saddr 192.0.2.1 drop
	}
}`, false},
		"somebody's chain": {`table ip nat {
	chain CNI-HOSTPORT-DNAT {
	}
}`, false},
	} {
		if got := onlyPodman(c.table); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestJumps(t *testing.T) {
	const table = `table ip nat { # handle 3
	chain NETAVARK-HOSTPORT-DNAT { # handle 9
	}
	chain PREROUTING { # handle 1
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local counter packets 0 bytes 0 jump CNI-HOSTPORT-DNAT # handle 7
		fib daddr type local counter packets 0 bytes 0 jump NETAVARK-HOSTPORT-DNAT # handle 12
	}
}`
	if got, want := podmanChains(table), []string{"NETAVARK-HOSTPORT-DNAT"}; !slices.Equal(got, want) {
		t.Errorf("chains %v, want %v", got, want)
	}
	if got, want := jumps(table, "NETAVARK-HOSTPORT-DNAT"), []string{"PREROUTING handle 12"}; !slices.Equal(got, want) {
		t.Errorf("jumps %v, want %v", got, want)
	}
}

func TestParseEvent(t *testing.T) {
	for line, want := range map[string]event{
		`2026-11-27 02:15:20.026478561 +0000 UTC carob /containers/create {"id":"u-a-0","image":"x y"}`: {topic: "/containers/create", id: "u-a-0"},
		`2026-11-27 02:15:20.13523541 +0000 UTC carob /tasks/start {"container_id":"u-a-0","pid":1}`:    {topic: "/tasks/start", id: "u-a-0"},
		`2026-11-27 02:15:20 +0000 UTC carob /snapshot/prepare {"key":"u-a-0","parent":"sha256:1"}`:     {topic: "/snapshot/prepare", id: "u-a-0"},
	} {
		got, ok := parseEvent(line)
		if !ok || got.topic != want.topic || got.id != want.id || got.at.Unix() != 1795745720 {
			t.Errorf("%s: %+v %v", line, got, ok)
		}
	}
	for _, line := range []string{"", "not an event", "2026-11-27 02:15:20 +0000 UTC carob /tasks/start {"} {
		if got, ok := parseEvent(line); ok {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

func TestPhases(t *testing.T) {
	began := time.Now()
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	s := started{uid: "u", called: began, accepted: at(3), bound: at(5), isRunning: at(100)}
	var evs []event
	for i, topic := range []string{"/snapshot/prepare", "/containers/create", "/tasks/create", "/tasks/start"} {
		evs = append(evs, event{at(10 * (i + 1)), topic, "u-a-0"}, event{at(10*(i+1) + 1), topic, "u-b-0"})
	}
	c := &carob{run: t.TempDir()}
	dir := filepath.Join(c.run, "sandboxes", "u")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "net"), nil, 0o600), os.WriteFile(filepath.Join(dir, "sandbox.json"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	var p path
	p.add(c.phasesOf(s, evs))
	got := p.medians()
	names := []string{}
	for _, ph := range got {
		names = append(names, ph.name)
		if ph.to < ph.from || ph.from < 0 {
			t.Errorf("%+v", ph)
		}
	}
	if len(got) != 10 || got[4] != (phase{"a: shim and runc create", at(20).Sub(began), at(30).Sub(began)}) ||
		got[9] != (phase{"status: Running, seen by a watch", at(41).Sub(began), at(100).Sub(began)}) {
		t.Errorf("%q %+v", names, got)
	}
	picture := svg("a <title>", got)
	for d := xml.NewDecoder(strings.NewReader(picture)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, picture)
		}
	}
	for _, n := range names {
		if !strings.Contains(picture, ">"+n+"<") {
			t.Errorf("the picture lacks %q", n)
		}
	}
}

func TestGridStep(t *testing.T) {
	for end, want := range map[time.Duration]time.Duration{
		time.Millisecond: time.Millisecond, 95 * time.Millisecond: 10 * time.Millisecond, 173 * time.Millisecond: 20 * time.Millisecond, 3 * time.Second: 500 * time.Millisecond,
	} {
		if got := gridStep(end); got != want {
			t.Errorf("%v: %v, want %v", end, got, want)
		}
	}
}

func TestBundleByHand(t *testing.T) {
	r := newByHand(t.TempDir())
	data, err := r.rewrite([]byte(`{"root":{"path":"x","readonly":true},"linux":{"cgroupsPath":"/carob-1/x","seccomp":{"n":1}},"process":{"args":["sleep"]}}`), "a")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Root struct {
			Path     string
			Readonly bool
		}
		Linux struct {
			CgroupsPath string
			Seccomp     map[string]int
		}
	}
	if err := json.Unmarshal(data, &got); err != nil || got.Root.Path != "rootfs" || !got.Root.Readonly ||
		got.Linux.CgroupsPath != "/"+r.group()+"/a" || got.Linux.Seccomp["n"] != 1 {
		t.Errorf("%v: %s", err, data)
	}
	if _, err := r.rewrite([]byte(`{}`), "a"); err == nil {
		t.Error("no bundle, no error")
	}
	image := filepath.Join(t.TempDir(), "image.tar")
	if err := writeImage(image); err != nil {
		t.Fatal(err)
	}
	if err := unpack(image, filepath.Join(r.dir, "rootfs")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "rootfs", "bin", "sleep")); err != nil {
		t.Error(err)
	}
}

func TestEndsOfProcesses(t *testing.T) {
	e, err := watchEnds([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.await(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("this process runs, and yet: %v", err)
	}
	if err := (ends{}).await(ctx); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	o := options{rounds: 1, divide: 1}
	if err := o.complete("exec, start"); err != nil || !slices.Equal(o.only, []string{"exec", "start"}) || o.out != "" {
		t.Errorf("%v %+v", err, o)
	}
	if err := o.complete("nothing"); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("%v", err)
	}
	o = options{rounds: 1, divide: 1}
	if err := o.complete(""); err != nil || !slices.Equal(o.only, names()) || o.out == "" {
		t.Errorf("%v %+v", err, o)
	}
}

func TestCalm(t *testing.T) {
	r := calm{all: 6.8, cpu: byProgram{"carob": 210, shims: 440, "containerd": 9, "quiet": 0}}
	if got, want := r.tell(), "2.4 % of a core; carob 2.1 %, containerd 0.1 %, containerd-shim-runc-v2 4.4 %"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := (byProgram{"a": 5, "b": 2}).since(byProgram{"a": 1}); got["a"] != 4 || got["b"] != 2 || got.sum() != 6 {
		t.Errorf("%v", got)
	}
	if got := (byProgram{"a": 0}).tell(kib); got != "nothing" {
		t.Errorf("%q", got)
	}
	if n, err := ticksOf(os.Getpid()); err != nil || n < 0 {
		t.Errorf("%d %v", n, err)
	}
	if got, want := commandOf(os.Getpid()), filepath.Base(os.Args[0]); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestComplete(t *testing.T) {
	d := deployment("d", 3)
	d.Generation = 2
	d.Status.ObservedGeneration, d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas = 2, 3, 3, 3
	if !complete(d) {
		t.Error("complete, and not seen")
	}
	d.Status.Replicas = 4 // an old one is left
	if complete(d) {
		t.Error("an old pod is left")
	}
	d.Status.Replicas, d.Status.ObservedGeneration = 3, 1
	if complete(d) {
		t.Error("a status of an earlier generation")
	}
}
