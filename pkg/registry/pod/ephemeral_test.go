package pod

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
)

func TestEphemeralContainersAreNotForNewPods(t *testing.T) {
	p := parsePod(t, `spec: {ephemeralContainers: [{name: e, image: i}]}`)
	errs := create(t, p)
	if len(errs) != 1 || errs[0].Error() != "spec.ephemeralContainers: Forbidden: cannot be set on create" {
		t.Error(errs)
	}
}

func TestEphemeralContainers(t *testing.T) {
	const old = `spec: {volumes: [{name: v}], containers: [{name: main, image: i}], ephemeralContainers: []}`
	for name, tc := range map[string]struct {
		add  string
		want []string
	}{
		"good": {add: `[{name: d, image: i, targetContainerName: main, stdin: true, tty: true, volumeMounts: [{name: v, mountPath: /v}]}]`},
		"bad": {
			add: `[{name: main, image: i, targetContainerName: d}, {name: d, image: i, ports: [{containerPort: 1}],
  resources: {limits: {cpu: 1}}, livenessProbe: {exec: {command: [a]}}, lifecycle: {preStop: {exec: {command: [a]}}},
  restartPolicy: Always, volumeMounts: [{name: v, mountPath: /v, subPath: s}, {name: w, mountPath: /w}]}, {name: d}]`,
			want: []string{
				`spec.ephemeralContainers[0].name: Duplicate value: "main"`,
				`spec.ephemeralContainers[0].targetContainerName: Not found: "d"`,
				`spec.ephemeralContainers[1].lifecycle: Forbidden: cannot be set for an Ephemeral Container`,
				`spec.ephemeralContainers[1].livenessProbe: Forbidden: cannot be set for an Ephemeral Container`,
				`spec.ephemeralContainers[1].ports: Forbidden: cannot be set for an Ephemeral Container`,
				`spec.ephemeralContainers[1].resources: Forbidden: cannot be set for an Ephemeral Container`,
				`spec.ephemeralContainers[1].restartPolicy: Forbidden: cannot be set for an Ephemeral Container`,
				`spec.ephemeralContainers[1].volumeMounts[0].subPath: Forbidden: cannot be set for an Ephemeral Container`,
				`spec.ephemeralContainers[1].volumeMounts[1].name: Not found: "w"`,
				`spec.ephemeralContainers[2].image: Required value`,
				`spec.ephemeralContainers[2].name: Duplicate value: "d"`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			was := stored(t, old)
			p := was.DeepCopy()
			p.Spec.EphemeralContainers = parsePod(t, "spec: {ephemeralContainers: "+tc.add+"}").Spec.EphemeralContainers
			SetDefaults(p)
			ephemeralStrategy{}.PrepareForUpdate(t.Context(), p, was)
			var got []string
			for _, e := range (ephemeralStrategy{}).ValidateUpdate(t.Context(), p, was) {
				got = append(got, e.Error())
			}
			slices.Sort(got)
			if !slices.Equal(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}

// edit updates a subresource by changing what is stored.
func edit(change func(p *corev1.Pod)) rest.UpdatedObjectInfo {
	return rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		p := old.(*corev1.Pod).DeepCopy()
		change(p)
		SetDefaults(p)
		return p, nil
	})
}

func TestEphemeralContainersAreOnlyAdded(t *testing.T) {
	s, ctx := newTestStorage(t)
	mustCreate(ctx, t, s, `metadata: {name: web}`)
	update := func(change func(p *corev1.Pod)) (*corev1.Pod, error) {
		obj, _, err := s.Ephemeral.Update(ctx, "web", edit(change), rest.ValidateAllObjectFunc,
			rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
		if err != nil {
			return nil, err
		}
		return obj.(*corev1.Pod), nil
	}
	add := func(name string) func(p *corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Labels, p.Spec.Hostname = map[string]string{"a": "b"}, "other"
			p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{
				EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: "busybox"},
			})
		}
	}
	p, err := update(add("d"))
	if err != nil || len(p.Spec.EphemeralContainers) != 1 || p.Spec.Hostname != "" || len(p.Labels) != 0 || p.Generation != 2 {
		t.Fatalf("%+v %v", p, err)
	}
	if c := p.Spec.EphemeralContainers[0]; c.ImagePullPolicy != corev1.PullAlways || c.TerminationMessagePath == "" {
		t.Errorf("no defaults: %+v", c)
	}
	if _, err := update(func(p *corev1.Pod) { p.Spec.EphemeralContainers = nil }); err == nil ||
		!strings.Contains(err.Error(), `existing ephemeral containers "d" may not be removed`) {
		t.Error(err)
	}
	if _, err := update(func(p *corev1.Pod) { p.Spec.EphemeralContainers[0].Image = "x" }); err == nil ||
		!strings.Contains(err.Error(), `existing ephemeral containers "d" may not be changed`) {
		t.Error(err)
	}
	if _, _, err := s.Pod.Update(ctx, "web", edit(add("e")), rest.ValidateAllObjectFunc,
		rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), "pod updates may not change fields") {
		t.Error(err)
	}
}
