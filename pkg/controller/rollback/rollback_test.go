package rollback

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func crashing(n int32, reason string) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name = "p"
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "c", RestartCount: n, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}},
	}}
	return p
}

func TestCrashLoop(t *testing.T) {
	if got := CrashLoop(crashing(2, "CrashLoopBackOff")); got != "container c of pod p has ended 3 times, last with exit code 3 (Error)" {
		t.Error(got)
	}
	for _, p := range []*corev1.Pod{crashing(1, "CrashLoopBackOff"), crashing(9, "ImagePullBackOff"), {}} {
		if got := CrashLoop(p); got != "" {
			t.Error(got)
		}
	}
}

func TestDeadline(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 600 * time.Second, "7": 7 * time.Second, "-1": 600 * time.Second, "x": 600 * time.Second} {
		if got := Deadline(map[string]string{AnnotationDeadline: text}); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// Templates come and fail at random; each revision is a number of its own. Who
// looks does so at random times, may miss any state, and may be restarted at
// any time: all that it knows is in the annotations and the condition.
func TestHistories(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 5))
		now := time.Unix(1e9, 0)
		template := 0
		kinds := map[string]string{"r0": ""}
		name := func(n int) string { return fmt.Sprintf("r%d", n) }
		current, annotations, was := name(0), map[string]string{Annotation: OnFailure}, Progress{}
		ready, left, settled := 0, map[string]int{}, map[string]bool{}
		for range 400 {
			now = now.Add(time.Duration(r.IntN(40)) * time.Second)
			if r.IntN(25) == 0 { // the user has another one
				template++
				current, ready = name(template), 0
				kinds[current] = []string{"", "stuck", "crashes"}[r.IntN(3)]
			}
			before := ready
			if kinds[current] != "stuck" && ready < 3 && r.IntN(2) == 0 {
				ready++
			}
			var pods []*corev1.Pod
			if kinds[current] == "crashes" && ready > 0 && r.IntN(2) == 0 {
				pods = []*corev1.Pod{crashing(3, "CrashLoopBackOff")}
				ready = 0
			}
			mine := current
			o := Judge(Workload{
				Annotations: annotations, Current: current, Was: was, Complete: ready == 3, Advanced: ready > before,
				Exists: func(n string) bool { _, ok := kinds[n]; return ok },
				Pods: func(n string) []*corev1.Pod {
					if n == mine {
						return pods
					}
					return nil
				},
				Now: now,
			})
			annotations, was = o.Record(annotations, current), o.Progress
			if annotations[AnnotationComplete] == current {
				settled[current] = true
			}
			if o.To == "" {
				continue
			}
			left[current]++
			switch {
			case left[current] > 1:
				t.Fatalf("seed %d: %s is left %d times", seed, current, left[current])
			case settled[current]:
				t.Fatalf("seed %d: %s was complete and is left: %s", seed, current, o.Message)
			case o.Message == "" || o.Reason == "":
				t.Fatalf("seed %d: no reason", seed)
			case !settled[o.To] && annotations[AnnotationComplete] != o.To:
				t.Fatalf("seed %d: returned to %s, which was never complete", seed, o.To)
			}
			current, ready = o.To, 3
		}
	}
}

func TestProgress(t *testing.T) {
	now := time.Unix(1e9, 0)
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	p, after := Progress{}.Next(Rollout{Changed: true, Deadline: time.Minute, Now: now})
	if p.Reason != ReasonProgressing || after != 61*time.Second {
		t.Errorf("begun: %+v %v", p, after)
	}
	if p, _ = p.Next(Rollout{Advanced: true, Deadline: time.Minute, Now: at(50)}); !p.Since.Equal(at(50)) {
		t.Errorf("moved: %+v", p)
	}
	if p, _ = p.Next(Rollout{Deadline: time.Minute, Now: at(109)}); p.Reason != ReasonProgressing {
		t.Errorf("in time: %+v", p)
	}
	late, after := p.Next(Rollout{Deadline: time.Minute, Now: at(110)})
	if late.Reason != ReasonTimedOut || late.Status() != corev1.ConditionFalse || after != 0 {
		t.Errorf("late: %+v %v", late, after)
	}
	if again, _ := late.Next(Rollout{Deadline: time.Minute, Now: at(200)}); again != late {
		t.Errorf("still late: %+v", again)
	}
	done, _ := late.Next(Rollout{Complete: true, Now: at(300)})
	if done.Reason != ReasonComplete {
		t.Errorf("done: %+v", done)
	}
	// A pod that ends later is no rollout.
	if later, _ := done.Next(Rollout{Deadline: time.Minute, Now: at(9000)}); later != done {
		t.Errorf("after it was done: %+v", later)
	}
}
