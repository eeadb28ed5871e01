package cronjob

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func made(change func(*batchv1.CronJob)) *batchv1.CronJob {
	c := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "n"}}
	c.Spec.Schedule = "*/5 * * * *"
	s := &c.Spec.JobTemplate.Spec.Template.Spec
	s.RestartPolicy, s.Containers = corev1.RestartPolicyOnFailure, []corev1.Container{{Name: "c", Image: "i"}}
	if change != nil {
		change(c)
	}
	SetDefaults(c)
	mainRules().Prepare(c)
	return c
}

func TestDefaults(t *testing.T) {
	s := made(nil).Spec
	if s.ConcurrencyPolicy != batchv1.AllowConcurrent || *s.Suspend || *s.SuccessfulJobsHistoryLimit != 3 || *s.FailedJobsHistoryLimit != 1 {
		t.Errorf("%+v", s)
	}
	// The rest of the Job's defaults come when it is made.
	if j := s.JobTemplate.Spec; j.Parallelism != nil || j.Template.Spec.DNSPolicy != corev1.DNSClusterFirst {
		t.Errorf("%+v", j)
	}
}

func TestWhatIsRefused(t *testing.T) {
	for _, c := range []struct {
		change func(*batchv1.CronJob)
		want   string
	}{
		{nil, ""},
		{func(c *batchv1.CronJob) { c.Spec.TimeZone = ptr.To("Asia/Tokyo") }, ""},
		{func(c *batchv1.CronJob) { c.Spec.Schedule = "" }, "spec.schedule: Required value"},
		{func(c *batchv1.CronJob) { c.Spec.Schedule = "* * * *" }, `spec.schedule: Invalid value: "* * * *": expected exactly 5 fields, found 4: [* * * *]`},
		{func(c *batchv1.CronJob) { c.Spec.Schedule = "CRON_TZ=UTC * * * * *" }, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"},
		{func(c *batchv1.CronJob) { c.Spec.Schedule, c.Spec.TimeZone = "x", ptr.To("") }, "spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"},
		{func(c *batchv1.CronJob) { c.Spec.TimeZone = ptr.To("Moon/Base") }, `spec.timeZone: Invalid value: "Moon/Base": unknown time zone Moon/Base`},
		{func(c *batchv1.CronJob) { c.Spec.TimeZone = ptr.To("local") }, "must be an explicit time zone"},
		{func(c *batchv1.CronJob) { c.Spec.ConcurrencyPolicy = "Queue" }, `spec.concurrencyPolicy: Unsupported value: "Queue": supported values: "Allow", "Forbid", "Replace"`},
		{func(c *batchv1.CronJob) { c.Spec.StartingDeadlineSeconds = ptr.To[int64](-1) }, "spec.startingDeadlineSeconds: Invalid value: -1"},
		{func(c *batchv1.CronJob) { c.Spec.FailedJobsHistoryLimit = ptr.To[int32](-1) }, "spec.failedJobsHistoryLimit: Invalid value: -1"},
		{func(c *batchv1.CronJob) { c.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy = "" }, "spec.jobTemplate.spec.template.spec.restartPolicy: Required value"},
		{func(c *batchv1.CronJob) { c.Spec.JobTemplate.Spec.Selector = &metav1.LabelSelector{} }, "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated"},
		{func(c *batchv1.CronJob) { c.Spec.JobTemplate.Spec.ManualSelector = ptr.To(true) }, "spec.jobTemplate.spec.manualSelector: Unsupported value: true"},
		{func(c *batchv1.CronJob) { c.Name = strings.Repeat("x", 53) }, "must be no more than 52 characters"},
	} {
		var got []string
		for _, e := range mainRules().Validate(t.Context(), made(c.change)) {
			got = append(got, e.Error())
		}
		if all := strings.Join(got, "; "); c.want == "" && all != "" || !strings.Contains(all, c.want) {
			t.Errorf("got %s\nwant %s", all, c.want)
		}
	}
}

func TestUpdateAndRow(t *testing.T) {
	old := made(nil)
	now := made(func(c *batchv1.CronJob) { c.Spec.Schedule = "@daily" })
	now.Status.LastScheduleTime = &metav1.Time{}
	mainRules().PrepareUpdate(now, old)
	if now.Generation != 2 || now.Status.LastScheduleTime != nil {
		t.Errorf("generation %d, status %+v", now.Generation, now.Status)
	}
	row := Kind().Row(now)
	if len(row) != len(Kind().Columns) || row[1] != "@daily" || row[2] != "<none>" || row[3] != "False" || row[4] != int64(0) || row[5] != "<none>" {
		t.Errorf("%v", row)
	}
}
