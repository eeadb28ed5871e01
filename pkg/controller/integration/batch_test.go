package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

func jobSpec(image string) batchv1.JobSpec {
	t := template("ignored", image)
	t.Labels = nil
	t.Spec.RestartPolicy = corev1.RestartPolicyNever
	return batchv1.JobSpec{Template: t}
}

func makeJob(t *testing.T, c kubernetes.Interface, ns, name string, s batchv1.JobSpec) *batchv1.Job {
	t.Helper()
	j, err := c.BatchV1().Jobs(ns).Create(t.Context(), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: s}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// awaitJob waits until the Job has the condition, and returns it then.
func awaitJob(t *testing.T, c kubernetes.Interface, ns, name string, want batchv1.JobConditionType) *batchv1.Job {
	t.Helper()
	var j *batchv1.Job
	eventually(t, func() string {
		var err error
		if j, err = c.BatchV1().Jobs(ns).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		for _, c := range j.Status.Conditions {
			if c.Type == want && c.Status == corev1.ConditionTrue {
				return ""
			}
		}
		return fmt.Sprintf("%+v", j.Status)
	})
	return j
}

func reasonOf(j *batchv1.Job, t batchv1.JobConditionType) string {
	for _, c := range j.Status.Conditions {
		if c.Type == t {
			return c.Reason
		}
	}
	return ""
}

func jobs(t *testing.T, c kubernetes.Interface, ns string) {
	for name, f := range map[string]func(*testing.T, kubernetes.Interface, string){
		"completes": jobCompletes, "indexed": jobIndexed, "fails": jobFails, "suspended": jobSuspended,
		"deleted": jobDeleted, "policy": jobPolicy,
	} {
		t.Run(name, func(t *testing.T) { f(t, c, ns) })
	}
}

func jobCompletes(t *testing.T, c kubernetes.Interface, ns string) {
	s := jobSpec("done")
	s.Completions, s.Parallelism = ptr.To[int32](5), ptr.To[int32](2)
	j := makeJob(t, c, ns, "five", s)
	if j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] != string(j.UID) || j.Spec.Template.Labels["job-name"] != "five" {
		t.Errorf("selector %v, labels %v", j.Spec.Selector, j.Spec.Template.Labels)
	}
	j = awaitJob(t, c, ns, "five", batchv1.JobComplete)
	if s := j.Status; s.Succeeded != 5 || s.Failed != 0 || s.Active != 0 || s.CompletionTime == nil || ptr.Deref(s.Ready, -1) != 0 ||
		len(s.UncountedTerminatedPods.Succeeded) != 0 || reasonOf(j, batchv1.JobComplete) != "CompletionsReached" {
		t.Errorf("%+v", s)
	}
	own, err := c.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=five"})
	if err != nil || len(own.Items) != 5 {
		t.Fatalf("%d pods, %v", len(own.Items), err)
	}
	for _, p := range own.Items {
		if len(p.Finalizers) != 0 {
			t.Errorf("%s keeps %v", p.Name, p.Finalizers)
		}
	}
	eventually(t, func() string { return told(t, c, ns, "five", "SuccessfulCreate", "Created pod: five-") })
	eventually(t, func() string { return told(t, c, ns, "five", "Completed", "Job completed") })
	quiet(t, func() string {
		j, err := c.BatchV1().Jobs(ns).Get(t.Context(), "five", metav1.GetOptions{})
		return fmt.Sprint(j.ResourceVersion, err)
	})
	// The time after the end is set late, and then up: the Job goes with its pods.
	if _, err := c.BatchV1().Jobs(ns).Patch(t.Context(), "five", types.MergePatchType, patch(`{"spec":{"ttlSecondsAfterFinished":0}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		_, err := c.BatchV1().Jobs(ns).Get(t.Context(), "five", metav1.GetOptions{})
		if msg := gone(err); msg != "" {
			return msg
		}
		return noPods(t, c, ns, "five")
	})
}

func noPods(t *testing.T, c kubernetes.Interface, ns, job string) string {
	list, err := c.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "job-name=" + job})
	if err != nil || len(list.Items) != 0 {
		return fmt.Sprint(len(list.Items), " pods ", err)
	}
	return ""
}

func jobIndexed(t *testing.T, c kubernetes.Interface, ns string) {
	s := jobSpec("done")
	s.Completions, s.Parallelism, s.CompletionMode = ptr.To[int32](4), ptr.To[int32](4), ptr.To(batchv1.IndexedCompletion)
	makeJob(t, c, ns, "indexed", s)
	j := awaitJob(t, c, ns, "indexed", batchv1.JobComplete)
	if j.Status.CompletedIndexes != "0-3" || j.Status.Succeeded != 4 {
		t.Errorf("%+v", j.Status)
	}
	list, err := c.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "job-name=indexed"})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range list.Items {
		i := p.Annotations[batchv1.JobCompletionIndexAnnotation]
		if seen[i] || p.Spec.Hostname != "indexed-"+i || !strings.HasPrefix(p.Name, "indexed-"+i+"-") || p.Labels[batchv1.JobCompletionIndexAnnotation] != i {
			t.Errorf("index %q: %s, hostname %s", i, p.Name, p.Spec.Hostname)
		}
		seen[i] = true
	}
	if len(seen) != 4 {
		t.Errorf("indexes %v", seen)
	}
}

func jobFails(t *testing.T, c kubernetes.Interface, ns string) {
	s := jobSpec("fail")
	s.BackoffLimit = ptr.To[int32](0)
	makeJob(t, c, ns, "fails", s)
	j := awaitJob(t, c, ns, "fails", batchv1.JobFailed)
	if s := j.Status; s.Failed != 1 || s.Succeeded != 0 || reasonOf(j, batchv1.JobFailed) != "BackoffLimitExceeded" ||
		reasonOf(j, batchv1.JobFailureTarget) != "BackoffLimitExceeded" || s.CompletionTime != nil {
		t.Errorf("%+v", s)
	}
	eventually(t, func() string {
		return told(t, c, ns, "fails", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
	})
	s = jobSpec("stuck")
	s.ActiveDeadlineSeconds = ptr.To[int64](1)
	makeJob(t, c, ns, "late", s)
	j = awaitJob(t, c, ns, "late", batchv1.JobFailed)
	if reasonOf(j, batchv1.JobFailed) != "DeadlineExceeded" || j.Status.Active != 0 {
		t.Errorf("%+v", j.Status)
	}
	eventually(t, func() string { return noPods(t, c, ns, "late") })
}

func jobPolicy(t *testing.T, c kubernetes.Interface, ns string) {
	s := jobSpec("fail")
	s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
		Action:      batchv1.PodFailurePolicyActionFailJob,
		OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{3}},
	}}}
	makeJob(t, c, ns, "policy", s)
	j := awaitJob(t, c, ns, "policy", batchv1.JobFailed)
	if reasonOf(j, batchv1.JobFailed) != "PodFailurePolicy" || j.Status.Failed != 1 {
		t.Errorf("%+v", j.Status)
	}
}

func jobSuspended(t *testing.T, c kubernetes.Interface, ns string) {
	s := jobSpec("stuck")
	s.Parallelism, s.Completions, s.Suspend = ptr.To[int32](2), ptr.To[int32](2), ptr.To(true)
	makeJob(t, c, ns, "pause", s)
	j := awaitJob(t, c, ns, "pause", batchv1.JobSuspended)
	if j.Status.StartTime != nil || j.Status.Active != 0 {
		t.Errorf("%+v", j.Status)
	}
	suspend := func(on bool) {
		if _, err := c.BatchV1().Jobs(ns).Patch(t.Context(), "pause", types.MergePatchType, patch(`{"spec":{"suspend":%v}}`, on), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	suspend(false)
	active := func(n int32) func() string {
		return func() string {
			j, err := c.BatchV1().Jobs(ns).Get(t.Context(), "pause", metav1.GetOptions{})
			if err != nil || j.Status.Active != n || (j.Status.StartTime != nil) != (n > 0) {
				return fmt.Sprintf("%+v %v", j.Status, err)
			}
			return ""
		}
	}
	eventually(t, active(2))
	suspend(true)
	eventually(t, active(0))
	eventually(t, func() string { return noPods(t, c, ns, "pause") })
	j = awaitJob(t, c, ns, "pause", batchv1.JobSuspended)
	if j.Status.Failed != 0 {
		t.Errorf("suspending counted as failing: %+v", j.Status)
	}
	for _, reason := range []string{"Suspended", "Resumed"} {
		eventually(t, func() string { return told(t, c, ns, "pause", reason, "Job "+strings.ToLower(reason)) })
	}
}

// jobDeleted: nobody counts the pods that a Job leaves behind.
func jobDeleted(t *testing.T, c kubernetes.Interface, ns string) {
	makeJob(t, c, ns, "left", jobSpec("stuck"))
	eventually(t, func() string {
		j, err := c.BatchV1().Jobs(ns).Get(t.Context(), "left", metav1.GetOptions{})
		if err != nil || j.Status.Active != 1 {
			return fmt.Sprintf("%+v %v", j.Status, err)
		}
		return ""
	})
	if err := c.BatchV1().Jobs(ns).Delete(t.Context(), "left", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationOrphan)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		list, err := c.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "job-name=left"})
		if err != nil || len(list.Items) != 1 || len(list.Items[0].Finalizers) != 0 || len(list.Items[0].OwnerReferences) != 0 {
			return fmt.Sprint(list.Items, err)
		}
		return ""
	})
}

func cronJobs(t *testing.T, c kubernetes.Interface, ns string) {
	crons := c.BatchV1().CronJobs(ns)
	cj := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "tick"}, Spec: batchv1.CronJobSpec{
		Schedule: "@every 1s", JobTemplate: batchv1.JobTemplateSpec{Spec: jobSpec("done")},
	}}
	if _, err := crons.Create(t.Context(), cj, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		cj, err := crons.Get(t.Context(), "tick", metav1.GetOptions{})
		if err != nil || cj.Status.LastScheduleTime == nil || cj.Status.LastSuccessfulTime == nil || len(cj.Status.Active) != 0 {
			return fmt.Sprintf("%+v %v", cj.Status, err)
		}
		return ""
	})
	list, err := c.BatchV1().Jobs(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) == 0 {
		t.Fatalf("%v %v", list, err)
	}
	j := list.Items[0]
	at, err := time.Parse(time.RFC3339, j.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	if err != nil || j.Name != fmt.Sprintf("tick-%d", at.Unix()/60) || !metav1.IsControlledBy(&j, mustGet(t, c, ns)) {
		t.Errorf("%+v %v", j.ObjectMeta, err)
	}
	eventually(t, func() string { return told(t, c, ns, "tick", "SuccessfulCreate", "Created job tick-") })
	eventually(t, func() string {
		return told(t, c, ns, "tick", "SawCompletedJob", "Saw completed job: "+j.Name+", condition: Complete")
	})
	if err := crons.Delete(t.Context(), "tick", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		list, err := c.BatchV1().Jobs(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 0 {
			return fmt.Sprint(len(list.Items), " jobs ", err)
		}
		return ""
	})
	cj.Spec.Schedule, cj.Spec.TimeZone = "61 * * * *", ptr.To("Nowhere/City")
	_, err = crons.Create(t.Context(), cj, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.schedule") || !strings.Contains(err.Error(), "spec.timeZone") {
		t.Errorf("%v", err)
	}
}

func mustGet(t *testing.T, c kubernetes.Interface, ns string) *batchv1.CronJob {
	t.Helper()
	cj, err := c.BatchV1().CronJobs(ns).Get(t.Context(), "tick", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return cj
}
