package job

import (
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// job returns a Job as it is after its creation was prepared; more is YAML
// that its spec is given.
func job(t *testing.T, more string) *batchv1.Job {
	t.Helper()
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "n", UID: types.UID("u-1")}}
	spec := more
	if !strings.Contains(more, "template:") {
		spec = "template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}\n" + more
	}
	if err := yaml.UnmarshalStrict([]byte(spec), &j.Spec); err != nil {
		t.Fatal(err)
	}
	SetDefaults(j)
	mainRules().Prepare(j)
	return j
}

func texts(errs field.ErrorList) []string {
	var out []string
	for _, e := range errs {
		out = append(out, e.Error())
	}
	return out
}

func TestDefaults(t *testing.T) {
	j := job(t, "")
	s := j.Spec
	if *s.Parallelism != 1 || *s.Completions != 1 || *s.BackoffLimit != 6 || *s.CompletionMode != batchv1.NonIndexedCompletion ||
		*s.Suspend || *s.ManualSelector || *s.PodReplacementPolicy != batchv1.TerminatingOrFailed || j.Generation != 1 {
		t.Errorf("%+v", s)
	}
	for _, key := range []string{"job-name", "controller-uid", batchv1.JobNameLabel, batchv1.ControllerUidLabel} {
		if s.Template.Labels[key] == "" {
			t.Errorf("no label %s", key)
		}
	}
	if s := job(t, "parallelism: 3").Spec; s.Completions != nil {
		t.Errorf("completions %d beside a parallelism", *s.Completions)
	}
	s = job(t, "completionMode: Indexed\ncompletions: 3\nbackoffLimitPerIndex: 1\npodFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget}]}]}").Spec
	if *s.BackoffLimit != 1<<31-1 || *s.PodReplacementPolicy != batchv1.Failed || s.PodFailurePolicy.Rules[0].OnPodConditions[0].Status != corev1.ConditionTrue {
		t.Errorf("%+v", s)
	}
	// What is stored shows the labels of the template too.
	SetDefaults(j)
	again := j.DeepCopy()
	SetDefaults(again)
	if !apiequality.Semantic.DeepEqual(again, j) {
		t.Errorf("defaults of what has defaults: %+v", again)
	}
}

func TestWhatIsRefused(t *testing.T) {
	const indexed = "completionMode: Indexed\n"
	for _, c := range []struct{ spec, want string }{
		{"", ""},
		{"parallelism: -1", "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"},
		{"activeDeadlineSeconds: -1", "spec.activeDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0"},
		{"ttlSecondsAfterFinished: -1", "spec.ttlSecondsAfterFinished: Invalid value: -1: must be greater than or equal to 0"},
		{"managedBy: x", `spec.managedBy: Invalid value: "x": must be a domain-prefixed path`},
		{"completionMode: Sorted", `spec.completionMode: Unsupported value: "Sorted": supported values: "NonIndexed", "Indexed"`},
		{indexed + "parallelism: 2", "spec.completions: Required value: when completion mode is Indexed"},
		{indexed + "completions: 1\nparallelism: 100001", "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed"},
		{indexed + "completions: 2\nbackoffLimitPerIndex: 1\nmaxFailedIndexes: 3", "spec.maxFailedIndexes: Invalid value: 3: must be less than or equal to completions"},
		{indexed + "completions: 100001\nbackoffLimitPerIndex: 1", "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000"},
		{"backoffLimitPerIndex: 1", "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"},
		{indexed + "completions: 2\nmaxFailedIndexes: 1", "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"},
		{"template: {spec: {containers: [{name: c, image: i}]}}", `spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`},
		{"podReplacementPolicy: Never", `spec.podReplacementPolicy: Unsupported value: "Never": supported values: "Failed", "TerminatingOrFailed"`},
		{"scheduling: {}", "spec.scheduling: Forbidden: not supported yet: pods are scheduled one by one; leave it out"},
		{"successPolicy: {rules: [{succeededCount: 1}]}", "spec.successPolicy: Invalid value:"},
		{indexed + "completions: 3\nsuccessPolicy: {rules: []}", "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified"},
		{indexed + "completions: 3\nsuccessPolicy: {rules: [{}]}", "spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified"},
		{indexed + "completions: 3\nsuccessPolicy: {rules: [{succeededIndexes: '2-1'}]}", `spec.successPolicy.rules[0].succeededIndexes: Invalid value: "2-1": error parsing succeededIndexes: non-increasing order, previous: 2, current: 1`},
		{indexed + "completions: 3\nsuccessPolicy: {rules: [{succeededIndexes: '0,5'}]}", `error parsing succeededIndexes: too large index: "5"`},
		{indexed + "completions: 3\nsuccessPolicy: {rules: [{succeededIndexes: '0-1', succeededCount: 3}]}", "must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)"},
		{"podFailurePolicy: {rules: [{action: Stop, onExitCodes: {operator: In, values: [1]}}]}", `spec.podFailurePolicy.rules[0].action: Unsupported value: "Stop": supported values: "Count", "FailIndex", "FailJob", "Ignore"`},
		{"podFailurePolicy: {rules: [{action: FailIndex, onExitCodes: {operator: In, values: [1]}}]}", "requires the backoffLimitPerIndex to be set"},
		{"podFailurePolicy: {rules: [{action: Count}]}", "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"},
		{"podFailurePolicy: {rules: [{action: Count, onExitCodes: {operator: In, values: [0, 3, 3, 2], containerName: d}}]}", "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"d\": must be one of the container or initContainer names in the pod template; " +
			"spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator; spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3; spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [0,3,3,2]: must be ordered"},
		{"podFailurePolicy: {rules: [{action: Count, onPodConditions: [{type: '', status: Maybe}]}]}", `spec.podFailurePolicy.rules[0].onPodConditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"`},
		{"selector: {matchLabels: {batch.kubernetes.io/controller-uid: other}}", "`selector` not auto-generated"},
		{"manualSelector: true", "spec.selector: Required value"},
		{"manualSelector: true\nselector: {matchLabels: {a: b}}", "`selector` does not match template `labels`"},
	} {
		got := strings.Join(texts(Validate(job(t, c.spec))), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s\n got %s\nwant %s", c.spec, got, c.want)
		}
	}
	long := job(t, indexed+"completions: 10")
	long.Name = strings.Repeat("x", 63)
	if got := strings.Join(texts(validateHostnames(long)), ""); !strings.Contains(got, "metadata.name: Invalid value: ") || !strings.Contains(got, "will not able to create pod with invalid DNS label: "+long.Name+"-9") {
		t.Error(got)
	}
}

func TestWhatMayChange(t *testing.T) {
	const image = "template: {spec: {restartPolicy: Never, containers: [{name: c, image: other}]}}"
	const place = "template: {spec: {restartPolicy: Never, nodeSelector: {a: b}, containers: [{name: c, image: i, resources: {limits: {cpu: 1}}}]}}"
	const indexed = "completionMode: Indexed\n"
	for _, c := range []struct{ from, to, want string }{
		{"", "parallelism: 3\ncompletions: 1", ""},
		{"", "suspend: true\nbackoffLimit: 1\nactiveDeadlineSeconds: 5\nttlSecondsAfterFinished: 5", ""},
		{"", "completions: 2", "spec.completions: Invalid value: 2: field is immutable"},
		{indexed + "completions: 2\nparallelism: 2", indexed + "completions: 4\nparallelism: 4", ""},
		{indexed + "completions: 2\nparallelism: 2", indexed + "completions: 4\nparallelism: 2", "spec.completions: Invalid value: 4: can only be modified in tandem with spec.parallelism"},
		{"completions: 2\nparallelism: 2", indexed + "completions: 2\nparallelism: 2", "spec.completionMode: Invalid value: \"Indexed\": field is immutable"},
		{"", image, "spec.template: Invalid value:"},
		{"", place, "spec.template: Invalid value:"},
		{"suspend: true", "suspend: true\n" + place, ""},
		{"suspend: true", "suspend: true\n" + image, "spec.template.spec: Invalid value:"},
		{"", "managedBy: a.b/c", "spec.managedBy: Invalid value: \"a.b/c\": field is immutable"},
	} {
		got := strings.Join(texts(validateUpdate(job(t, c.to), job(t, c.from))), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s -> %s\n got %s\nwant %s", c.from, c.to, got, c.want)
		}
	}
	old, now := job(t, ""), job(t, "parallelism: 3\ncompletions: 1")
	now.Status.Active = 7
	mainRules().PrepareUpdate(now, old)
	if now.Generation != 2 || now.Status.Active != 0 {
		t.Errorf("generation %d, status %+v", now.Generation, now.Status)
	}
}

func TestStatusOnlyGoesForward(t *testing.T) {
	conditions := func(types ...batchv1.JobConditionType) []batchv1.JobCondition {
		var out []batchv1.JobCondition
		for _, c := range types {
			out = append(out, batchv1.JobCondition{Type: c, Status: corev1.ConditionTrue})
		}
		return out
	}
	at := func(second int64) *metav1.Time { return ptr.To(metav1.Unix(second, 0)) }
	complete := batchv1.JobStatus{
		StartTime: at(10), CompletionTime: at(20), Succeeded: 1,
		Conditions: conditions(batchv1.JobSuccessCriteriaMet, batchv1.JobComplete),
	}
	with := func(f func(*batchv1.JobStatus)) batchv1.JobStatus {
		s := *complete.DeepCopy()
		f(&s)
		return s
	}
	running := batchv1.JobStatus{StartTime: at(10), Active: 1, Failed: 2}
	for name, c := range map[string]struct {
		from, to batchv1.JobStatus
		want     string
	}{
		"completes":          {running, with(func(s *batchv1.JobStatus) { s.Failed = 2 }), ""},
		"twice":              {complete, complete, ""},
		"counts down":        {running, batchv1.JobStatus{StartTime: at(10), Failed: 1}, "status.failed: Invalid value: 1: cannot decrease the failed counter"},
		"forgets":            {complete, with(func(s *batchv1.JobStatus) { s.Succeeded = 0 }), "cannot decrease the succeeded counter"},
		"begins again":       {running, batchv1.JobStatus{StartTime: at(11), Failed: 2}, "status.startTime: Invalid value: \"1970-01-01T00:00:11Z\": field is immutable for unsuspended job once set"},
		"no end":             {running, with(func(s *batchv1.JobStatus) { s.CompletionTime = nil; s.Failed = 2 }), "completionTime is required for Complete jobs"},
		"end too early":      {running, with(func(s *batchv1.JobStatus) { s.CompletionTime = at(5); s.Failed = 2 }), "must be equal to or after `startTime`"},
		"other end":          {complete, with(func(s *batchv1.JobStatus) { s.CompletionTime = at(30) }), "field is immutable"},
		"end before the end": {running, batchv1.JobStatus{StartTime: at(10), CompletionTime: at(20), Failed: 2}, "cannot set completionTime when there is no Complete=True condition"},
		"both": {running, with(func(s *batchv1.JobStatus) {
			s.Failed = 2
			s.Conditions = append(s.Conditions, conditions(batchv1.JobFailed)...)
		}), "cannot set Complete=True and Failed=true conditions"},
		"not met":          {running, with(func(s *batchv1.JobStatus) { s.Failed = 2; s.Conditions = conditions(batchv1.JobComplete) }), "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"},
		"failed of itself": {running, batchv1.JobStatus{StartTime: at(10), Failed: 2, Conditions: conditions(batchv1.JobFailed)}, "cannot set Failed=True condition without the FailureTarget=true condition"},
		"goes on":          {complete, with(func(s *batchv1.JobStatus) { s.Conditions = nil; s.CompletionTime = nil }), "cannot disable the terminal Complete=True condition"},
		"still active":     {running, with(func(s *batchv1.JobStatus) { s.Failed = 2; s.Active = 1 }), "active>0 is invalid for finished job"},
		"still going":      {running, with(func(s *batchv1.JobStatus) { s.Failed = 2; s.Terminating = ptr.To[int32](1) }), "terminating>0 is invalid for finished job"},
		"still counting": {running, with(func(s *batchv1.JobStatus) {
			s.Failed = 2
			s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{Failed: []types.UID{"a"}}
		}), "must be empty for finished job"},
		"counts one twice":    {running, batchv1.JobStatus{StartTime: at(10), Failed: 2, UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{Failed: []types.UID{"a"}, Succeeded: []types.UID{"a"}}}, `status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"`},
		"more ready":          {running, batchv1.JobStatus{StartTime: at(10), Failed: 2, Ready: ptr.To[int32](1)}, "cannot set more ready pods than active"},
		"indexes of none":     {running, batchv1.JobStatus{StartTime: at(10), Failed: 2, CompletedIndexes: "0"}, "cannot set non-empty completedIndexes when non-indexed completion mode"},
		"never began":         {batchv1.JobStatus{}, with(func(s *batchv1.JobStatus) { s.StartTime = nil }), "startTime is required for finished job"},
		"starts":              {batchv1.JobStatus{}, batchv1.JobStatus{StartTime: at(1), Active: 1}, ""},
		"negative":            {batchv1.JobStatus{}, batchv1.JobStatus{Active: -1}, "status.active: Invalid value: -1"},
		"both kinds of ended": {running, batchv1.JobStatus{StartTime: at(10), Failed: 2, Conditions: conditions(batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget)}, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"},
	} {
		old, now := job(t, ""), job(t, "")
		old.Status, now.Status = c.from, c.to
		got := strings.Join(texts(statusRules().ValidateUpdate(t.Context(), now, old)), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s\n got %s\nwant %s", name, got, c.want)
		}
	}
	now, old := job(t, "completionMode: Indexed\ncompletions: 5\nbackoffLimitPerIndex: 1"), job(t, "completionMode: Indexed\ncompletions: 5\nbackoffLimitPerIndex: 1")
	now.Status = batchv1.JobStatus{CompletedIndexes: "0-2", FailedIndexes: ptr.To("2,4")}
	if got := strings.Join(texts(statusRules().ValidateUpdate(t.Context(), now, old)), "; "); !strings.Contains(got, "failedIndexes and completedIndexes overlap at index: 2") {
		t.Error(got)
	}
}

func TestRow(t *testing.T) {
	j := job(t, "parallelism: 3")
	j.Status.Succeeded = 2
	if row := Kind().Row(j); len(row) != len(Kind().Columns) || row[1] != "Running" || row[2] != "2/1 of 3" || row[3] != "" {
		t.Errorf("%v", row)
	}
	j = job(t, "completions: 4")
	j.Status.StartTime, j.Status.CompletionTime = ptr.To(metav1.Unix(10, 0)), ptr.To(metav1.Unix(75, 0))
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionFalse}, {Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	if row := Kind().Row(j); !slices.Equal(row[1:4], []any{"Complete", "0/4", "65s"}) {
		t.Errorf("%v", row)
	}
}

// FuzzIndexes: what is read is in order, and its size is what total says.
func FuzzIndexes(f *testing.F) {
	for _, s := range []string{"", "0", "1,3-5,7", "5-3", "x", "1-2-3", "-1", "0-99999999999999999999"} {
		f.Add(s, 8)
	}
	f.Fuzz(func(t *testing.T, text string, limit int) {
		spans, err := parseIndexes(text, limit)
		if err != nil {
			return
		}
		n, last := 0, -1<<62
		for _, s := range spans {
			if s.first <= last || s.last < s.first || s.last >= limit {
				t.Fatalf("%q: %v", text, spans)
			}
			n += s.last - s.first + 1
			last = s.last
		}
		if total(spans) != n {
			t.Errorf("%q: %d", text, total(spans))
		}
		if i, both := common(spans, spans); both != (len(spans) > 0) || both && i != spans[0].first {
			t.Errorf("%q: common %d %v", text, i, both)
		}
	})
}
