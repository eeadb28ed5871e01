// Package budget holds carob to what it may spend on a pod: calls of
// containerd, writes to etcd, processes, allocations. The budget is in
// budget.yaml.
package budget

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Budget is the content of budget.yaml.
type Budget struct {
	PodLife struct {
		ContainerdCalls counts `json:"containerdCalls"`
		EtcdWrites      counts `json:"etcdWrites"`
	} `json:"podLife"`
	Rollout struct {
		EtcdWrites counts `json:"etcdWrites"`
	} `json:"rollout"`
	ProcessesPerPod int    `json:"processesPerPod"`
	Allocations     counts `json:"allocations"`
}

func budget(t *testing.T) Budget {
	t.Helper()
	data, err := os.ReadFile("budget.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var b Budget
	if err := yaml.UnmarshalStrict(data, &b); err != nil {
		t.Fatalf("e2e/budget/budget.yaml: %v", err)
	}
	return b
}

// counts are how often something happened, by its name.
type counts map[string]int

// since returns what has come to an earlier count.
func (c counts) since(before counts) counts {
	d := counts{}
	for k, n := range c {
		if n -= before[k]; n != 0 {
			d[k] = n
		}
	}
	return d
}

// least returns the smallest count of each name in several runs of the same:
// what a change of carob spends more, it spends in all of them; what a busy
// machine spends more, such as a second try, only in some.
func least(runs []counts) counts {
	low := maps.Clone(runs[0])
	for _, r := range runs[1:] {
		for k := range low {
			low[k] = min(low[k], r[k])
		}
	}
	return low
}

// How much less than allowed is worth a word: anything where the number is the
// same on every machine, and less than 60 % where a busy machine spends more.
const (
	exact = 100
	loose = 60
)

// hold fails the test where more was spent than allowed, and says what to do.
func hold(t *testing.T, where, unit string, spent, allowed counts, percent int) {
	t.Helper()
	over, under := compare(where, unit, spent, allowed, percent)
	for _, line := range over {
		t.Error(line)
	}
	for _, line := range under {
		t.Log(line)
	}
}

// compare says what was spent above what is allowed, and below that share of it.
func compare(where, unit string, spent, allowed counts, percent int) (over, under []string) {
	for _, k := range slices.Sorted(maps.Keys(spent)) {
		switch n, most := spent[k], allowed[k]; {
		case n > most:
			over = append(over, fmt.Sprintf("%s: %d %s, and %s.%s in e2e/budget/budget.yaml allows %d. "+
				"Find out what the change adds (`git diff main`) and spare it; "+
				"where it is worth its price, raise the number in the same commit and say in its message what for.",
				k, n, unit, where, k, most))
		case 100*n < percent*most:
			under = append(under, fmt.Sprintf("%s: %d %s, less than %s.%s allows (%d): lower it in e2e/budget/budget.yaml, so that it stays so", k, n, unit, where, k, most))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(allowed)) {
		if _, known := spent[k]; !known && allowed[k] > 0 {
			under = append(under, fmt.Sprintf("%s: none, and %s.%s in e2e/budget/budget.yaml allows %d: remove it", k, where, k, allowed[k]))
		}
	}
	return over, under
}

func TestCompare(t *testing.T) {
	over, under := compare("w", "calls", counts{"same": 1, "more": 3, "less": 1, "new": 1, "near": 9}, counts{"same": 1, "more": 2, "less": 2, "gone": 1, "near": 10}, 90)
	if len(over) != 2 || !strings.HasPrefix(over[0], "more: 3 calls, and w.more") || !strings.HasPrefix(over[1], "new: 1 calls, and w.new in e2e/budget/budget.yaml allows 0") {
		t.Errorf("over: %q", over)
	}
	if len(under) != 2 || !strings.HasPrefix(under[0], "less: 1") || !strings.HasPrefix(under[1], "gone: none") {
		t.Errorf("under: %q", under)
	}
}

func TestCounts(t *testing.T) {
	if got := least([]counts{{"a": 3, "b": 1}, {"a": 2, "b": 4, "c": 1}}); !maps.Equal(got, counts{"a": 2, "b": 1}) {
		t.Errorf("least: %v", got)
	}
	if got := (counts{"a": 3, "b": 1}).since(counts{"a": 1, "b": 1}); !maps.Equal(got, counts{"a": 2}) {
		t.Errorf("since: %v", got)
	}
}
