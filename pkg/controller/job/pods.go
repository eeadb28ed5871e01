package job

import (
	"maps"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// indexVariable tells a container its pod's completion index.
const indexVariable = "JOB_COMPLETION_INDEX"

// longestPrefix is how long a generateName may be: five letters follow it, and
// a name that is a hostname too has at most 63.
const longestPrefix = 63 - 5

// NewPod is the pod of a creation, to be made in the Job's namespace.
func NewPod(j *batchv1.Job, c Creation) *corev1.Pod {
	t := j.Spec.Template.DeepCopy()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: prefix(j.Name, ""), Namespace: j.Namespace,
			Labels: t.Labels, Annotations: t.Annotations, Finalizers: t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(j, batchv1.SchemeGroupVersion.WithKind("Job"))},
		},
		Spec: t.Spec,
	}
	if !slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) {
		p.Finalizers = append(p.Finalizers, batchv1.JobTrackingFinalizer)
	}
	if c.Index >= 0 {
		index(p, j, c)
	}
	return p
}

// index makes the pod one of a completion index.
func index(p *corev1.Pod, j *batchv1.Job, c Creation) {
	number := strconv.Itoa(c.Index)
	p.GenerateName = prefix(j.Name, number)
	p.Spec.Hostname = j.Name + "-" + number
	p.Labels, p.Annotations = with(p.Labels), with(p.Annotations)
	p.Labels[batchv1.JobCompletionIndexAnnotation] = number
	p.Annotations[batchv1.JobCompletionIndexAnnotation] = number
	if j.Spec.BackoffLimitPerIndex != nil {
		countFailures(p, j, c.Replaces)
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if slices.ContainsFunc(list[i].Env, func(e corev1.EnvVar) bool { return e.Name == indexVariable }) {
				continue
			}
			list[i].Env = append(list[i].Env, corev1.EnvVar{Name: indexVariable, ValueFrom: &corev1.EnvVarSource{
				FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']"},
			}})
		}
	}
}

// countFailures hands the failures of an index on from pod to pod.
func countFailures(p *corev1.Pod, j *batchv1.Job, old *corev1.Pod) {
	failures, ignored := 0, 0
	if old != nil {
		failures = annotated(old, batchv1.JobIndexFailureCountAnnotation)
		ignored = annotated(old, batchv1.JobIndexIgnoredFailureCountAnnotation)
		if judge(j.Spec.PodFailurePolicy, old).counts {
			failures++
		} else {
			ignored++
		}
	}
	p.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(failures)
	if ignored > 0 {
		p.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(ignored)
	}
}

// prefix is the generateName of a pod: the Job's name is cut where it has to
// be, its index is not.
func prefix(name, number string) string {
	end := "-"
	if number != "" {
		end = "-" + number + "-"
	}
	return name[:min(len(name), longestPrefix-len(end))] + end
}

func with(m map[string]string) map[string]string {
	if m = maps.Clone(m); m == nil {
		m = map[string]string{}
	}
	return m
}
