package component_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carob-project/carob/pkg/component"
)

type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, s)
}

func (j *journal) index(s string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Index(j.lines, s)
}

func (j *journal) component(name string, needs ...string) component.Component {
	return component.Component{
		Name: name, Needs: needs,
		Start: func(context.Context, func(error)) error { j.add("start " + name); return nil },
		Stop:  func(context.Context) error { j.add("stop " + name); return nil },
	}
}

func TestRunStartsByNeedAndStopsInReverse(t *testing.T) {
	j := &journal{}
	ctx, cancel := context.WithCancel(t.Context())
	var seen []string
	var mu sync.Mutex
	observe := func(name string, _ time.Duration) { mu.Lock(); defer mu.Unlock(); seen = append(seen, name) }
	err := component.Run(ctx, []component.Component{
		j.component("agent", "api", "runtime"), j.component("api", "etcd"), j.component("etcd"), j.component("runtime"),
	}, observe, cancel)
	if err != nil {
		t.Fatal(err)
	}
	for _, order := range [][2]string{
		{"start etcd", "start api"}, {"start api", "start agent"}, {"start runtime", "start agent"},
		{"start agent", "stop agent"}, {"stop agent", "stop api"}, {"stop api", "stop etcd"}, {"stop agent", "stop runtime"},
	} {
		if a, b := j.index(order[0]), j.index(order[1]); a < 0 || b < 0 || a > b {
			t.Errorf("%q must come before %q: %v", order[0], order[1], j.lines)
		}
	}
	if len(seen) != 4 {
		t.Errorf("observed %v, want all four", seen)
	}
}

func TestRunStopsEverythingWhenAStartFails(t *testing.T) {
	j := &journal{}
	boom := errors.New("boom")
	bad := j.component("bad", "good")
	bad.Start = func(context.Context, func(error)) error { return boom }
	err := component.Run(t.Context(), []component.Component{j.component("good"), bad, j.component("later", "bad")}, nil,
		func() { t.Error("ready was called") })
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "bad: ") {
		t.Errorf("got %v, want bad's error with its name", err)
	}
	if j.index("start later") >= 0 {
		t.Error("a component started whose need had failed")
	}
	if j.index("stop good") < 0 || j.index("stop bad") < 0 {
		t.Errorf("not everything was stopped: %v", j.lines)
	}
}

func TestRunEndsAStartThatWaits(t *testing.T) {
	boom := errors.New("boom")
	waiting := component.Component{Name: "waiting", Start: func(ctx context.Context, _ func(error)) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	failing := component.Component{Name: "failing", Start: func(context.Context, func(error)) error { return boom }}
	if err := component.Run(t.Context(), []component.Component{waiting, failing}, nil, nil); !errors.Is(err, boom) {
		t.Errorf("got %v, want boom", err)
	}
}

func TestRunEndsWhenAPartFailsLater(t *testing.T) {
	boom := errors.New("boom")
	ran := component.Component{Name: "etcd", Start: func(_ context.Context, fail func(error)) error {
		go fail(boom)
		return nil
	}}
	if err := component.Run(t.Context(), []component.Component{ran}, nil, nil); !errors.Is(err, boom) {
		t.Errorf("got %v, want boom", err)
	}
}

func TestRunKeepsContextUntilStop(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var own context.Context
	c := component.Component{
		Name:  "a",
		Start: func(ctx context.Context, _ func(error)) error { own = ctx; return nil },
		Stop: func(context.Context) error {
			if own.Err() != nil {
				t.Error("the component's context ended before its Stop")
			}
			return nil
		},
	}
	if err := component.Run(ctx, []component.Component{c}, nil, cancel); err != nil {
		t.Fatal(err)
	}
	select {
	case <-own.Done():
	case <-time.After(10 * time.Second):
		t.Error("the component's context never ended")
	}
}

func TestRunRefusesABadGraph(t *testing.T) {
	j := &journal{}
	for name, cs := range map[string][]component.Component{
		"twice":   {j.component("a"), j.component("a")},
		"unknown": {j.component("a", "b")},
		"circle":  {j.component("a", "b"), j.component("b", "a")},
	} {
		if err := component.Run(t.Context(), cs, nil, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
