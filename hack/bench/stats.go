package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// quantile returns the value below which the share q of the sorted values
// lies (nearest rank).
func quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	rank := int(q*float64(len(v))+0.999999) - 1
	return v[min(max(rank, 0), len(v)-1)]
}

func median(values []time.Duration) time.Duration { return quantile(values, 0.5) }

func p99(values []time.Duration) time.Duration { return quantile(values, 0.99) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond)) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func mib(kib int64) string { return fmt.Sprintf("%.0f MiB", float64(kib)/1024) }

// byProgram is an amount by the name of a program.
type byProgram map[string]int64

func (b byProgram) sum() (n int64) {
	for _, v := range b {
		n += v
	}
	return n
}

func (b byProgram) since(before byProgram) byProgram {
	d := byProgram{}
	for k, v := range b {
		d[k] = v - before[k]
	}
	return d
}

// tell names those that have a share, with their amounts as format wants them.
func (b byProgram) tell(format func(int64) string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(b)) {
		if b[k] != 0 {
			all = append(all, k+" "+format(b[k]))
		}
	}
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, ", ")
}

func kib(bytes int64) string { return fmt.Sprintf("%d KiB", bytes>>10) }
