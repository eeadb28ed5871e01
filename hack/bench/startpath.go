package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// phase is a stretch of a pod's start: from and to are since the create call.
type phase struct {
	name     string
	from, to time.Duration
}

// path collects the phases of several starts.
type path struct {
	order []string
	from  map[string][]time.Duration
	to    map[string][]time.Duration
}

func (p *path) add(phases []phase) {
	if p.from == nil {
		p.from, p.to = map[string][]time.Duration{}, map[string][]time.Duration{}
	}
	for _, ph := range phases {
		if !slices.Contains(p.order, ph.name) {
			p.order = append(p.order, ph.name)
		}
		p.from[ph.name] = append(p.from[ph.name], ph.from)
		p.to[ph.name] = append(p.to[ph.name], ph.to)
	}
}

// medians are the phases as they were in the middle of all starts.
func (p *path) medians() []phase {
	var all []phase
	for _, name := range p.order {
		all = append(all, phase{name, median(p.from[name]), median(p.to[name])})
	}
	return all
}

// phasesOf puts together what the API, containerd and the file system tell of
// a start. Where the sandbox was made ahead, its phases lie before the create
// call and are cut off there.
func (c *carob) phasesOf(s started, evs []event) []phase {
	since := func(t time.Time) time.Duration { return max(0, t.Sub(s.called)) }
	all := []phase{
		{"API: create accepted", 0, since(s.accepted)},
		{"scheduler: bound, seen by a watch", since(s.accepted), since(s.bound)},
	}
	dir := filepath.Join(c.run, "sandboxes", string(s.uid))
	pinned, err1 := changed(filepath.Join(dir, "net"))
	attached, err2 := changed(filepath.Join(dir, "sandbox.json"))
	if err1 == nil && err2 == nil {
		all = append(all, phase{"sandbox: network attached (CNI)", since(pinned), since(attached)})
	}
	at := map[string]time.Time{}
	for _, e := range evs {
		container := strings.TrimPrefix(e.id, string(s.uid)+"-")
		if _, again := at[e.topic+" "+container]; !again {
			at[e.topic+" "+container] = e.at
		}
	}
	var last time.Time
	for _, n := range []string{"a", "b"} {
		made, prepared := at["/containers/create "+n+"-0"], at["/snapshot/prepare "+n+"-0"]
		created, run := at["/tasks/create "+n+"-0"], at["/tasks/start "+n+"-0"]
		if made.IsZero() || prepared.IsZero() || created.IsZero() || run.IsZero() {
			continue
		}
		recorded := made
		if prepared.Before(made) {
			recorded, prepared = prepared, made
		}
		all = append(all,
			phase{n + ": record and snapshot", since(recorded), since(prepared)},
			phase{n + ": shim and runc create", since(prepared), since(created)},
			phase{n + ": waits, runc start", since(created), since(run)})
		if run.After(last) {
			last = run
		}
	}
	if !last.IsZero() {
		all = append(all, phase{"status: Running, seen by a watch", since(last), since(s.isRunning)})
	}
	return all
}

// changed is when a file or what is mounted on it was last changed, to a clock
// tick of the kernel (4 ms at most).
func changed(path string) (time.Time, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return time.Time{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return time.Unix(st.Ctim.Unix()), nil
}

const (
	rowHeight = 24
	labelSide = 250
	chartSide = 560
)

// svg draws phases as bars over time.
func svg(title string, phases []phase) string {
	end := time.Millisecond
	for _, p := range phases {
		end = max(end, p.to)
	}
	scale := func(d time.Duration) float64 { return labelSide + chartSide*float64(d)/float64(end) }
	height := rowHeight*(len(phases)+3) + 10
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="13">`+"\n", labelSide+chartSide+90, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n"+`<text x="10" y="20" font-weight="bold">%s</text>`+"\n", escape(title))
	top, bottom := rowHeight+16, rowHeight*(len(phases)+1)+22
	step := gridStep(end)
	for t := time.Duration(0); t <= end; t += step {
		x := scale(t)
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle" fill="#666">%d ms</text>`+"\n",
			x, top, x, bottom, x, bottom+16, t.Milliseconds())
	}
	for i, p := range phases {
		y := top + i*rowHeight
		fmt.Fprintf(&b, `<text x="10" y="%d">%s</text><rect x="%.1f" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/><text x="%.1f" y="%d" fill="#333">%s</text>`+"\n",
			y+16, escape(p.name), scale(p.from), y+4, max(1.5, scale(p.to)-scale(p.from)), rowHeight-8, color(p.name), scale(p.to)+5, y+16, ms(p.to-p.from))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// gridStep makes 4 to 10 lines at round times.
func gridStep(end time.Duration) time.Duration {
	for step := time.Millisecond; ; step *= 10 {
		for _, f := range []time.Duration{1, 2, 5} {
			if end/(f*step) < 10 {
				return f * step
			}
		}
	}
}

// color tells whose time it is.
func color(name string) string {
	who, _, _ := strings.Cut(name, ":")
	switch who {
	case "API", "scheduler", "status":
		return "#4c78a8"
	case "sandbox":
		return "#72b7b2"
	case "a":
		return "#f58518"
	}
	return "#eeca3b"
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
