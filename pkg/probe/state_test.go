package probe

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

func TestState(t *testing.T) {
	for _, tc := range []struct {
		name             string
		success, failure int32
		first            Verdict
		results          string // + success, - failure, ? unknown
		want             string // verdict after each: u, p, f
	}{
		{"at once", 1, 1, Undecided, "+-+", "pfp"},
		{"three failures", 1, 3, Passed, "--+---", "pppppf"},
		{"two successes", 2, 1, Undecided, "+-++", "uffp"},
		{"unknown does not count", 1, 2, Passed, "-?-?+", "ppffp"},
		{"no thresholds", 0, 0, Undecided, "-+", "fp"},
	} {
		s := State{SuccessThreshold: tc.success, FailureThreshold: tc.failure, Verdict: tc.first}
		got := ""
		for _, r := range tc.results {
			s.Take(map[rune]Outcome{'+': Success, '-': Failure, '?': Unknown}[r])
			got += string("upf"[s.Verdict])
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// A verdict changes only after a whole run of equal results, and then it does.
func TestStateProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := State{
			SuccessThreshold: rapid.Int32Range(0, 4).Draw(t, "success"),
			FailureThreshold: rapid.Int32Range(0, 4).Draw(t, "failure"),
			Verdict:          rapid.SampledFrom([]Verdict{Undecided, Passed, Failed}).Draw(t, "first"),
		}
		good, bad := int32(0), int32(0)
		for _, o := range rapid.SliceOf(rapid.SampledFrom([]Outcome{Unknown, Success, Warning, Failure})).Draw(t, "results") {
			before := s.Verdict
			changed := s.Take(o)
			switch o {
			case Success, Warning:
				good, bad = good+1, 0
			case Failure:
				good, bad = 0, bad+1
			}
			if changed != (s.Verdict != before) {
				t.Fatal("a change was not told")
			}
			if o != Unknown && (good >= max(s.SuccessThreshold, 1)) != (s.Verdict == Passed && good > 0) && good > 0 && before != Passed {
				t.Fatalf("%d successes: %v", good, s.Verdict)
			}
			if bad > 0 && bad >= max(s.FailureThreshold, 1) && s.Verdict != Failed {
				t.Fatalf("%d failures: %v", bad, s.Verdict)
			}
			if changed && s.Verdict == Failed && bad < max(s.FailureThreshold, 1) {
				t.Fatalf("failed after %d", bad)
			}
		}
	})
}

func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		var tried []time.Duration
		var told []Verdict
		tt := Timetable{
			Probe:     &corev1.Probe{InitialDelaySeconds: 5, PeriodSeconds: 10, FailureThreshold: 2, SuccessThreshold: 1},
			StartedAt: begin.Add(-2 * time.Second), First: Passed,
			Last: func(v Verdict) bool { return v == Failed },
		}
		Loop(ctx, tt, func(context.Context) Result {
			tried = append(tried, time.Since(begin))
			time.Sleep(time.Second)
			return Result{Outcome: Failure}
		}, func(v Verdict) { told = append(told, v) })
		if diff := cmp.Diff([]time.Duration{3 * time.Second, 13 * time.Second}, tried); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]Verdict{Failed}, told); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLoopTriesAgainWhatCannotBeCarriedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		n := 0
		Loop(ctx, Timetable{Probe: &corev1.Probe{PeriodSeconds: 10, FailureThreshold: 1}, StartedAt: time.Now()},
			func(context.Context) Result { n++; return Result{} },
			func(Verdict) { t.Error("a verdict without a result") })
		if n != 3*tries {
			t.Errorf("%d tries", n)
		}
	})
}
