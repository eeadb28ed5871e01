package pod

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// stored returns a pod as the API holds it.
func stored(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	p := parsePod(t, text)
	if errs := create(t, p); len(errs) > 0 {
		t.Fatal(errs)
	}
	return p
}

func TestUpdates(t *testing.T) {
	const old = `spec: {activeDeadlineSeconds: 60, initContainers: [{name: i, image: "a:1"}], tolerations: [{key: mine, operator: Exists}]}`
	noChange := func(*corev1.Pod) {}
	for name, tc := range map[string]struct {
		change func(p *corev1.Pod)
		want   string // part of the only error
		bumps  bool
	}{
		"nothing":    {change: noChange},
		"labels":     {change: func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }},
		"image":      {change: func(p *corev1.Pod) { p.Spec.Containers[0].Image = "busybox:2" }, bumps: true},
		"init image": {change: func(p *corev1.Pod) { p.Spec.InitContainers[0].Image = "a:2" }, bumps: true},
		"no image": {
			change: func(p *corev1.Pod) { p.Spec.Containers[0].Image = "" }, bumps: true,
			want: "spec.containers[0].image: Required value",
		},
		"nearer deadline": {change: func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](5) }, bumps: true},
		"later deadline": {
			change: func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](61) }, bumps: true,
			want: "spec.activeDeadlineSeconds: Invalid value: 61: must be less than or equal to previous value",
		},
		"no deadline": {
			change: func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = nil }, bumps: true,
			want: "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
		},
		"more tolerations": {change: func(p *corev1.Pod) {
			p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: "k", Operator: corev1.TolerationOpExists})
		}, bumps: true},
		"toleration seconds": {change: func(p *corev1.Pod) { p.Spec.Tolerations[1].TolerationSeconds = nil }, bumps: true},
		"changed toleration": {
			change: func(p *corev1.Pod) { p.Spec.Tolerations[0].Key = "k" }, bumps: true,
			want: "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
		},
		"left out tolerations": {change: func(p *corev1.Pod) { p.Spec.Tolerations = p.Spec.Tolerations[:1] }},
		"left out admission": {change: func(p *corev1.Pod) {
			p.Spec.Priority, p.Spec.PreemptionPolicy = nil, nil
			p.Spec.ServiceAccountName, p.Spec.DeprecatedServiceAccount = "", ""
		}},
		"status": {change: func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }},
		"command": {
			change: func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"sh"} }, bumps: true,
			want: "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`",
		},
		"probe": {
			change: func(p *corev1.Pod) {
				p.Spec.Containers[0].LivenessProbe = &corev1.Probe{SuccessThreshold: 1, ProbeHandler: corev1.ProbeHandler{
					TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)},
				}}
			}, bumps: true,
			want: "LivenessProbe",
		},
		"node": {
			change: func(p *corev1.Pod) { p.Spec.NodeName = "n" }, bumps: true,
			want: "spec: Forbidden: pod updates may not change fields other than",
		},
		"grace": {
			change: func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1) }, bumps: true,
			want: "spec: Forbidden: pod updates may not change fields other than",
		},
		"another container": {
			change: func(p *corev1.Pod) {
				p.Spec.Containers = append(p.Spec.Containers, p.Spec.Containers[0])
				p.Spec.Containers[1].Name = "another"
			}, bumps: true,
			want: "spec.containers: Forbidden: pod updates may not add or remove containers",
		},
	} {
		t.Run(name, func(t *testing.T) {
			was := stored(t, old)
			p := was.DeepCopy()
			tc.change(p)
			s := newStrategy()
			s.PrepareForUpdate(t.Context(), p, was)
			errs := s.ValidateUpdate(t.Context(), p, was)
			switch {
			case tc.want == "" && len(errs) > 0:
				t.Errorf("refused: %v", errs)
			case tc.want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), tc.want)):
				t.Errorf("got %v, want %s", errs, tc.want)
			}
			if bumped := p.Generation == was.Generation+1; bumped != tc.bumps {
				t.Errorf("generation %d after %d", p.Generation, was.Generation)
			}
			if p.Status.Phase != was.Status.Phase {
				t.Error("the status was written")
			}
		})
	}
}

// A gated pod may get a stricter node affinity, and no other changes.
func TestGatedPodsNarrowTheirNodes(t *testing.T) {
	expr := func(key string) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpExists}
	}
	affinity := func(terms ...corev1.NodeSelectorTerm) *corev1.Affinity {
		return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}}
	}
	term := func(keys ...string) corev1.NodeSelectorTerm {
		var out corev1.NodeSelectorTerm
		for _, k := range keys {
			out.MatchExpressions = append(out.MatchExpressions, expr(k))
		}
		return out
	}
	for name, tc := range map[string]struct {
		gated    bool
		old, now *corev1.Affinity
		want     string
	}{
		"a new one":       {gated: true, now: affinity(term("a"))},
		"not gated":       {now: affinity(term("a")), want: "spec: Forbidden: pod updates may not change"},
		"one more":        {gated: true, old: affinity(term("a")), now: affinity(term("a", "b"))},
		"another":         {gated: true, old: affinity(term("a")), now: affinity(term("b")), want: "nodeSelectorTerms[0]: Invalid value"},
		"removed":         {gated: true, old: affinity(term("a")), want: "no additions/deletions to non-empty NodeSelectorTerms list are allowed"},
		"another term":    {gated: true, old: affinity(term("a")), now: affinity(term("a"), term("b")), want: "no additions/deletions to non-empty NodeSelectorTerms list are allowed"},
		"of pods as well": {gated: true, now: &corev1.Affinity{PodAffinity: &corev1.PodAffinity{}}, want: "spec: Forbidden: pod updates may not change"},
	} {
		t.Run(name, func(t *testing.T) {
			was := stored(t, `spec: {terminationGracePeriodSeconds: 1}`)
			was.Spec.Affinity = tc.old
			if tc.gated {
				was.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}}
			}
			p := was.DeepCopy()
			p.Spec.Affinity = tc.now
			errs := ValidateUpdate(p, was)
			if tc.want == "" && len(errs) > 0 || tc.want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), tc.want)) {
				t.Errorf("got %v, want %s", errs, tc.want)
			}
		})
	}
}

func TestLabelKeysBecomeSelectors(t *testing.T) {
	p := parsePod(t, `
metadata: {labels: {hash: h1}}
spec:
  affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [
    {topologyKey: k, labelSelector: {}, matchLabelKeys: [hash, none]}, {topologyKey: k, labelSelector: {}, mismatchLabelKeys: [hash]}]}}
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: k, whenUnsatisfiable: DoNotSchedule, labelSelector: {}, matchLabelKeys: [hash]}]`)
	if errs := create(t, p); len(errs) > 0 {
		t.Fatal(errs)
	}
	terms := p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	for got, want := range map[string]string{
		metav1.FormatLabelSelector(terms[0].LabelSelector):                            "hash in (h1)",
		metav1.FormatLabelSelector(terms[1].LabelSelector):                            "hash notin (h1)",
		metav1.FormatLabelSelector(p.Spec.TopologySpreadConstraints[0].LabelSelector): "hash in (h1)",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestNegativeGraceMayBecomeOne(t *testing.T) {
	was := stored(t, `{}`)
	was.Spec.TerminationGracePeriodSeconds = ptr.To[int64](-3)
	p := was.DeepCopy()
	p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
	if errs := ValidateUpdate(p, was); len(errs) > 0 {
		t.Error(errs)
	}
}

func TestGraceOfDeletion(t *testing.T) {
	for name, tc := range map[string]struct {
		phase     corev1.PodPhase
		node      string
		spec, ask *int64
		want      int64
	}{
		"the pod's":         {phase: corev1.PodRunning, node: "n", spec: ptr.To[int64](30), want: 30},
		"the request's":     {phase: corev1.PodRunning, node: "n", spec: ptr.To[int64](30), ask: ptr.To[int64](5), want: 5},
		"at once":           {phase: corev1.PodRunning, node: "n", spec: ptr.To[int64](30), ask: ptr.To[int64](0)},
		"negative":          {phase: corev1.PodRunning, node: "n", spec: ptr.To[int64](-1), want: 1},
		"on no node":        {phase: corev1.PodPending, spec: ptr.To[int64](30)},
		"ended well":        {phase: corev1.PodSucceeded, node: "n", spec: ptr.To[int64](30)},
		"ended badly":       {phase: corev1.PodFailed, node: "n", spec: ptr.To[int64](30), ask: ptr.To[int64](7)},
		"pending on a node": {phase: corev1.PodPending, node: "n", spec: ptr.To[int64](30), want: 30},
	} {
		p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: tc.node, TerminationGracePeriodSeconds: tc.spec}}
		p.Status.Phase = tc.phase
		o := &metav1.DeleteOptions{GracePeriodSeconds: tc.ask}
		if !newStrategy().CheckGracefulDelete(t.Context(), p, o) || *o.GracePeriodSeconds != tc.want {
			t.Errorf("%s: %d, want %d", name, *o.GracePeriodSeconds, tc.want)
		}
	}
}

func TestStatusHasItsOwnWriter(t *testing.T) {
	was := stored(t, `spec: {restartPolicy: Never}`)
	p := was.DeepCopy()
	p.Spec.NodeName = "stolen"
	p.OwnerReferences = []metav1.OwnerReference{{Name: "x"}}
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.2", HostIPs: []corev1.HostIP{{IP: "10.0.0.1"}}}
	s := statusStrategy{newStrategy()}
	s.PrepareForUpdate(t.Context(), p, was)
	if errs := s.ValidateUpdate(t.Context(), p, was); len(errs) > 0 {
		t.Fatal(errs)
	}
	if p.Spec.NodeName != "" || len(p.OwnerReferences) > 0 || p.Status.QOSClass != corev1.PodQOSBestEffort {
		t.Errorf("%+v", p)
	}
	if len(p.Status.PodIPs) != 1 || p.Status.HostIP != "10.0.0.1" {
		t.Errorf("IPs %+v", p.Status)
	}
}

func TestEndedContainersStayEnded(t *testing.T) {
	ended := func(code int32) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}
	}
	for _, tc := range []struct {
		policy corev1.RestartPolicy
		code   int32
		ok     bool
	}{
		{corev1.RestartPolicyAlways, 0, true},
		{corev1.RestartPolicyOnFailure, 1, true},
		{corev1.RestartPolicyOnFailure, 0, false},
		{corev1.RestartPolicyNever, 1, false},
	} {
		was := stored(t, `{}`)
		was.Spec.RestartPolicy = tc.policy
		was.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: ended(tc.code)}}
		p := was.DeepCopy()
		p.Status.ContainerStatuses[0].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
		if errs := ValidateStatusUpdate(p, was); (len(errs) == 0) != tc.ok {
			t.Errorf("%s after %d: %v", tc.policy, tc.code, errs)
		}
	}
}

func TestWarnings(t *testing.T) {
	p := stored(t, `
metadata: {name: web.one, annotations: {seccomp.security.alpha.kubernetes.io/pod: unconfined}}
spec:
  nodeSelector: {beta.kubernetes.io/os: linux}
  hostAliases: [{ip: 10.0.0.1}, {ip: 10.0.0.1}]
  containers:
  - name: a
    image: i
    env: [{name: A, value: x}, {name: A, value: y}]
    ports: [{containerPort: 80}, {containerPort: 80, name: again}]
    resources: {requests: {memory: 100m}}
`)
	got := strings.Join(newStrategy().WarningsOnCreate(t.Context(), p), "\n")
	for _, want := range []string{
		"metadata.name: this is used in the Pod's hostname", "metadata.annotations[seccomp",
		`spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`,
		`spec.hostAliases[1].ip: duplicate ip "10.0.0.1"`,
		`spec.containers[0].env[1]: hides previous definition of "A"`,
		"spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
		`spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no warning %q in\n%s", want, got)
		}
	}
	if w := newStrategy().WarningsOnCreate(t.Context(), stored(t, `{}`)); len(w) > 0 {
		t.Errorf("warned of nothing: %v", w)
	}
}
