package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// report is what the page says.
type report struct {
	starts  []*contender
	phases  []phase
	rows    []row
	notes   []string
	machine []string
}

// row is a measure; one without a target only tells.
type row struct {
	what, measured, target string
	met                    bool
}

func (r *report) row(what, measured, target string, met bool) {
	r.rows = append(r.rows, row{what, measured, target, met})
	fmt.Fprintf(os.Stderr, "bench:   %s: %s (%s)\n", what, measured, target)
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

const pictureName = "startpath.svg"

func (r *report) markdown(o options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench`; `hack/bench.sh -only start,exec` runs single sections. Times vary\nwith the machine; the ratios, measured in turns in one run, are what counts.\n\n")
	if o.divide != 1 {
		fmt.Fprintf(&b, "**A trial**: the numbers of pods and jobs were divided by %d.\n\n", o.divide)
	}
	if len(r.starts) > 0 {
		r.startTable(&b, o)
	}
	if len(r.rows) > 0 {
		fmt.Fprintf(&b, "| measure | measured | target | |\n| --- | --- | --- | --- |\n")
		for _, row := range r.rows {
			verdict := ""
			if row.target != "" {
				verdict = map[bool]string{true: "met", false: "**missed**"}[row.met]
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", row.what, row.measured, row.target, verdict)
		}
		b.WriteString("\n")
	}
	if len(r.phases) > 0 {
		fmt.Fprintf(&b, "![The start path of a pod of two containers](%s)\n\nThe start path, medians of the same rounds: the API's part by the clock of the client,\ncontainerd's by its events, the network's by the times of the sandbox's files (to 4 ms).\nWhat lies side by side ran at the same time.\n\n", pictureName)
	}
	for _, line := range append(r.notes, r.machine...) {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	return b.String()
}

// slowest says what p99 is where there are fewer than a hundred rounds.
func slowest(rounds int) string {
	if rounds >= 100 {
		return ""
	}
	return " (p99 is the slowest of them)"
}

func (r *report) startTable(b *strings.Builder, o options) {
	fmt.Fprintf(b, "Two busybox containers that share a network, image present, %d rounds each, in turns%s:\n\n", o.rounds, slowest(o.rounds))
	fmt.Fprintf(b, "| | median | p99 | ratio of medians |\n| --- | --- | --- | --- |\n")
	base := median(r.starts[0].took)
	for _, who := range r.starts {
		fmt.Fprintf(b, "| %s | %s | %s | %.2f |\n", who.name, ms(median(who.took)), ms(p99(who.took)), ratio(median(who.took), base))
	}
	fmt.Fprintf(b, "\nThe ratio is to carob. The line of runc is the floor: it has the bundles that carob's shim\nhad, and their namespaces, network included, ready; in it are the four calls of runc, in\nthe order of a shell; not in it are root file systems, CNI, pipes for logs, a shim, and\nwhoever decides and remembers.\n\n")
}

// write writes the page, and the picture beside it.
func (r *report) write(o options) error {
	var picture error
	if len(r.phases) > 0 {
		title := fmt.Sprintf("A pod of two containers from the create call to Running, medians of %d starts", o.rounds)
		picture = os.WriteFile(filepath.Join(filepath.Dir(o.out), pictureName), []byte(svg(title, r.phases)), 0o644)
	}
	return errors.Join(picture, os.WriteFile(o.out, []byte(r.markdown(o)), 0o644))
}
