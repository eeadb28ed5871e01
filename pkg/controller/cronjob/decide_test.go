package cronjob

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/cron"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func cronJob(schedule string, change func(*batchv1.CronJob)) *batchv1.CronJob {
	c := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "n", UID: "cron", CreationTimestamp: metav1.NewTime(noon)},
		Spec: batchv1.CronJobSpec{
			Schedule: schedule, TimeZone: ptr.To("UTC"), ConcurrencyPolicy: batchv1.AllowConcurrent,
			SuccessfulJobsHistoryLimit: ptr.To[int32](3), FailedJobsHistoryLimit: ptr.To[int32](1),
		},
	}
	if change != nil {
		change(c)
	}
	return c
}

// ran is a Job that the CronJob has made; how is "" while it runs.
func ran(c *batchv1.CronJob, due time.Time, how batchv1.JobConditionType) *batchv1.Job {
	j := newJob(c, due)
	j.UID = types.UID(j.Name)
	j.Status.StartTime = ptr.To(metav1.NewTime(due))
	if how != "" {
		j.Status.Conditions = []batchv1.JobCondition{{Type: how, Status: corev1.ConditionTrue}}
	}
	if how == batchv1.JobComplete {
		j.Status.CompletionTime = ptr.To(metav1.NewTime(due.Add(10 * time.Second)))
	}
	return j
}

func active(jobs ...*batchv1.Job) func(*batchv1.CronJob) {
	return func(c *batchv1.CronJob) {
		for _, j := range jobs {
			c.Status.Active = append(c.Status.Active, Reference(j))
			at, _ := scheduledAt(j)
			c.Status.LastScheduleTime = ptr.To(metav1.NewTime(at))
		}
	}
}

func (d Decision) String() string {
	var out []string
	for _, j := range d.Delete {
		out = append(out, "delete "+j.Name)
	}
	if d.Start != nil {
		out = append(out, "start "+d.Start.Name)
	}
	for _, e := range d.Events {
		out = append(out, e.Reason)
	}
	for _, r := range d.Status.Active {
		out = append(out, "active "+r.Name)
	}
	if !d.Wake.IsZero() {
		out = append(out, "wake "+d.Wake.UTC().Format("15:04:05"))
	}
	return strings.Join(out, ", ")
}

func TestDecide(t *testing.T) {
	c := cronJob("*/5 * * * *", nil)
	minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	name := func(n int) string { return JobName(c, minute(n)) }
	five, ten := ran(c, minute(5), ""), ran(c, minute(10), "")
	policy := func(p batchv1.ConcurrencyPolicy, next func(*batchv1.CronJob)) func(*batchv1.CronJob) {
		return func(c *batchv1.CronJob) { c.Spec.ConcurrencyPolicy = p; next(c) }
	}
	for title, s := range map[string]struct {
		schedule string
		change   func(*batchv1.CronJob)
		jobs     []*batchv1.Job
		now      time.Time
		want     string
	}{
		"not yet":       {"*/5 * * * *", nil, nil, minute(3), "wake 12:05:00"},
		"due":           {"*/5 * * * *", nil, nil, minute(5), "start " + name(5) + ", wake 12:10:00"},
		"the last only": {"*/5 * * * *", nil, nil, minute(17), "start " + name(15) + ", wake 12:20:00"},
		"once":          {"*/5 * * * *", active(five), []*batchv1.Job{five}, minute(6), "active " + five.Name + ", wake 12:10:00"},
		"beside":        {"*/5 * * * *", active(five), []*batchv1.Job{five}, minute(10), "start " + name(10) + ", active " + five.Name + ", wake 12:15:00"},
		"forbidden": {"*/5 * * * *", policy(batchv1.ForbidConcurrent, active(five)), []*batchv1.Job{five}, minute(10),
			"JobAlreadyActive, active " + five.Name + ", wake 12:15:00"},
		"instead": {"*/5 * * * *", policy(batchv1.ReplaceConcurrent, active(five)), []*batchv1.Job{five}, minute(10),
			"delete " + five.Name + ", start " + name(10) + ", wake 12:15:00"},
		"ended":                                {"*/5 * * * *", active(five), []*batchv1.Job{ran(c, minute(5), batchv1.JobComplete)}, minute(6), "SawCompletedJob, wake 12:10:00"},
		"gone":                                 {"*/5 * * * *", active(five), nil, minute(6), "MissingJob, wake 12:10:00"},
		"killed before the status was written": {"*/5 * * * *", nil, []*batchv1.Job{five}, minute(6), "active " + five.Name + ", wake 12:10:00"},
		"killed, and ended since":              {"*/5 * * * *", nil, []*batchv1.Job{ran(c, minute(5), batchv1.JobFailed)}, minute(6), "wake 12:10:00"},
		"by hand": {"*/5 * * * *", active(five), []*batchv1.Job{five, {ObjectMeta: metav1.ObjectMeta{Name: "hand", UID: "hand"}}}, minute(6),
			"UnexpectedJob, active " + five.Name + ", wake 12:10:00"},
		"suspended": {"*/5 * * * *", func(c *batchv1.CronJob) { c.Spec.Suspend = ptr.To(true) }, nil, minute(17), ""},
		"deleted":   {"*/5 * * * *", func(c *batchv1.CronJob) { c.DeletionTimestamp = &metav1.Time{} }, nil, minute(17), ""},
		"too late": {"*/5 * * * *", func(c *batchv1.CronJob) { c.Spec.StartingDeadlineSeconds = ptr.To[int64](60) }, nil, minute(17),
			"wake 12:20:00"},
		"just in time": {"*/5 * * * *", func(c *batchv1.CronJob) { c.Spec.StartingDeadlineSeconds = ptr.To[int64](150) }, nil, minute(17),
			"start " + name(15) + ", wake 12:20:00"},
		"long ago":       {"* * * * *", nil, nil, minute(200), "start " + name(200) + ", TooManyMissedTimes, wake 15:21:00"},
		"never":          {"0 0 31 2 *", nil, nil, minute(1), "InvalidSchedule"},
		"clock put back": {"*/5 * * * *", active(ten), []*batchv1.Job{ten}, minute(2), "active " + ten.Name + ", wake 12:15:00"},
		"history": {"0 0 1 1 *", nil, []*batchv1.Job{
			ran(c, minute(1), batchv1.JobFailed), ran(c, minute(2), batchv1.JobFailed),
			ran(c, minute(3), batchv1.JobComplete), ran(c, minute(4), batchv1.JobComplete), ran(c, minute(5), batchv1.JobComplete), ran(c, minute(6), batchv1.JobComplete),
		}, minute(7), "delete " + name(3) + ", delete " + name(1) + ", wake 00:00:00"},
	} {
		c := cronJob(s.schedule, s.change)
		if got := Decide(Observed{CronJob: c, Jobs: s.jobs, Now: s.now}).String(); got != s.want {
			t.Errorf("%s\n got %s\nwant %s", title, got, s.want)
		}
	}
}

func TestTheJobSaysWhenItWasDue(t *testing.T) {
	c := cronJob("0 9 * * *", func(c *batchv1.CronJob) {
		c.Spec.TimeZone = ptr.To("Asia/Tokyo")
		c.Spec.JobTemplate.Labels = map[string]string{"a": "b"}
	})
	d := Decide(Observed{CronJob: c, Now: noon.Add(13 * time.Hour)})
	if d.Start == nil || d.Start.Annotations[batchv1.CronJobScheduledTimestampAnnotation] != "2026-11-27T09:00:00+09:00" || d.Start.Labels["a"] != "b" ||
		!metav1.IsControlledBy(d.Start, c) || d.Status.LastScheduleTime == nil {
		t.Errorf("%+v", d)
	}
	if c.Spec.JobTemplate.Annotations != nil {
		t.Error("the template was written to")
	}
}

// TestLatestIsTheLatest compares the short cut with going through all times.
func TestLatestIsTheLatest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a seed makes failures repeatable
	for _, text := range []string{"* * * * *", "*/7 * * * *", "30 6-16/4 * * 1-5", "@every 17m", "0 0 1 */2 *", "5,50 * * * *", "0 2 * * *"} {
		for _, zone := range []string{"UTC", "Europe/Berlin", "America/New_York"} {
			in, err := time.LoadLocation(zone)
			if err != nil {
				t.Fatal(err)
			}
			s, err := cron.Parse(text, in)
			if err != nil {
				t.Fatal(err)
			}
			for range 12 {
				from := noon.Add(time.Duration(r.IntN(400*24*60)) * time.Minute)
				now := from.Add(time.Duration(r.IntN(20*24*60*60)) * time.Second)
				var want time.Time
				next := s.Next(from)
				for !next.After(now) {
					want, next = next, s.Next(next)
				}
				due, missed, after := latest(s, from, now)
				// A period does not begin at the same moment for both.
				if strings.HasPrefix(text, "@every") {
					if due.IsZero() != want.IsZero() || due.After(now) || !after.After(now) {
						t.Fatalf("%s from %v to %v: %v, then %v", text, from, now, due, after)
					}
					continue
				}
				if !due.Equal(want) || !after.Equal(next) || (missed == 0) != want.IsZero() {
					t.Fatalf("%s in %s from %v to %v: %v (%d), then %v; want %v, then %v", text, zone, from, now, due, missed, after, want, next)
				}
			}
		}
	}
}

// TestHistories: whatever is killed and whenever a Job ends, no time has two
// Jobs, Forbid never has two at once, and the list of active Jobs tells only of
// Jobs that there are.
func TestHistories(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // a seed makes failures repeatable
		policies := []batchv1.ConcurrencyPolicy{batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent}
		c := cronJob("* * * * *", func(c *batchv1.CronJob) { c.Spec.ConcurrencyPolicy = policies[r.IntN(3)] })
		var jobs []*batchv1.Job
		started := map[string]int{}
		now := noon
		for range 60 {
			now = now.Add(time.Duration(r.IntN(100)) * time.Second)
			for _, j := range jobs {
				if outcome(j) == "" && r.IntN(3) == 0 {
					j.Status.Conditions = []batchv1.JobCondition{{Type: []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed}[r.IntN(2)], Status: corev1.ConditionTrue}}
				}
			}
			d := Decide(Observed{CronJob: c, Jobs: jobs, Now: now})
			if !d.Wake.After(now) {
				t.Fatalf("seed %d: to wake at %v, now is %v", seed, d.Wake, now)
			}
			for _, gone := range d.Delete {
				jobs = slices.DeleteFunc(jobs, func(j *batchv1.Job) bool { return j.UID == gone.UID })
			}
			if d.Start != nil {
				if started[d.Start.Name]++; started[d.Start.Name] > 1 {
					t.Fatalf("seed %d: %s twice", seed, d.Start.Name)
				}
				d.Start.UID = types.UID(fmt.Sprint(d.Start.Name, len(started)))
				jobs = append(jobs, d.Start)
				d.Status.Active = append(d.Status.Active, Reference(d.Start))
			}
			if r.IntN(4) > 0 { // else: killed before the status was written
				c = c.DeepCopy()
				c.Status = d.Status
			}
			check(t, seed, c, d, jobs)
		}
	}
}

func check(t *testing.T, seed uint64, c *batchv1.CronJob, d Decision, jobs []*batchv1.Job) {
	t.Helper()
	running := 0
	for _, j := range jobs {
		if outcome(j) == "" {
			running++
		}
	}
	if c.Spec.ConcurrencyPolicy != batchv1.AllowConcurrent && running > 1 {
		t.Fatalf("seed %d: %d at once under %s", seed, running, c.Spec.ConcurrencyPolicy)
	}
	if len(d.Status.Active) != running {
		t.Fatalf("seed %d: %d active, %d run", seed, len(d.Status.Active), running)
	}
	for _, how := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		n := 0
		for _, j := range jobs {
			if outcome(j) == how {
				n++
			}
		}
		if how == batchv1.JobComplete && n > 3 || how == batchv1.JobFailed && n > 1 {
			t.Fatalf("seed %d: %d Jobs kept that are %s", seed, n, how)
		}
	}
}
