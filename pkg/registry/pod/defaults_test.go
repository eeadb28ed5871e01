package pod

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

func TestDefaults(t *testing.T) {
	p := parsePod(t, `
spec:
  initContainers: [{name: init, image: "busybox:1.36"}]
  containers: [{name: main, image: nginx, ports: [{containerPort: 80}], resources: {limits: {cpu: 0.1234, memory: 1Mi}, requests: {cpu: 0.1m}}}]
  volumes:
  - name: scratch
  - {name: host, hostPath: {path: /srv}}
  - {name: sec, secret: {secretName: s}}
  - {name: all, projected: {sources: [{downwardAPI: {items: [{path: pod, fieldRef: {fieldPath: metadata.name}}]}}]}}
`)
	if errs := create(t, p); len(errs) > 0 {
		t.Fatal(errs)
	}
	want := `
containers:
- image: nginx
  imagePullPolicy: Always
  name: main
  ports: [{containerPort: 80, protocol: TCP}]
  resources: {limits: {cpu: 124m, memory: 1Mi}, requests: {cpu: 1m, memory: 1Mi}}
  terminationMessagePath: /dev/termination-log
  terminationMessagePolicy: File
initContainers:
- image: busybox:1.36
  imagePullPolicy: IfNotPresent
  name: init
  resources: {}
  terminationMessagePath: /dev/termination-log
  terminationMessagePolicy: File
dnsPolicy: ClusterFirst
enableServiceLinks: true
preemptionPolicy: PreemptLowerPriority
priority: 0
restartPolicy: Always
schedulerName: default-scheduler
securityContext: {}
serviceAccount: default
serviceAccountName: default
terminationGracePeriodSeconds: 30
tolerations:
- {effect: NoExecute, key: node.kubernetes.io/not-ready, operator: Exists, tolerationSeconds: 300}
- {effect: NoExecute, key: node.kubernetes.io/unreachable, operator: Exists, tolerationSeconds: 300}
volumes:
- {name: scratch, emptyDir: {}}
- {name: host, hostPath: {path: /srv, type: ""}}
- {name: sec, secret: {secretName: s, defaultMode: 420}}
- {name: all, projected: {defaultMode: 420, sources: [{downwardAPI: {items: [{path: pod, fieldRef: {apiVersion: v1, fieldPath: metadata.name}}]}}]}}
`
	var wantSpec corev1.PodSpec
	if err := yaml.UnmarshalStrict([]byte(want), &wantSpec); err != nil {
		t.Fatal(err)
	}
	equal := cmp.Comparer(func(a, b resource.Quantity) bool { return a.Cmp(b) == 0 })
	if diff := cmp.Diff(wantSpec, p.Spec, equal); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if p.Status.Phase != corev1.PodPending || p.Status.QOSClass != corev1.PodQOSBurstable || p.Generation != 1 {
		t.Errorf("status %+v, generation %d", p.Status, p.Generation)
	}
}

func TestPullPolicy(t *testing.T) {
	for image, want := range map[string]corev1.PullPolicy{
		"nginx":        corev1.PullAlways,
		"nginx:latest": corev1.PullAlways,
		"nginx:latest@sha256:abababababababababababababababababababababababababababababababab": corev1.PullAlways,
		"registry:5000/nginx":   corev1.PullAlways,
		"registry:5000/nginx:1": corev1.PullIfNotPresent,
		"nginx:1.27":            corev1.PullIfNotPresent,
		"nginx@sha256:abababababababababababababababababababababababababababababababab": corev1.PullIfNotPresent,
		"registry:5000/nginx@sha256:1": corev1.PullIfNotPresent,
		"":                             corev1.PullIfNotPresent,
	} {
		if got := pullPolicyFor(image); got != want {
			t.Errorf("%q: %s, want %s", image, got, want)
		}
	}
}

func TestServiceAccountAlias(t *testing.T) {
	p := parsePod(t, `spec: {serviceAccount: default}`)
	if errs := create(t, p); len(errs) > 0 {
		t.Fatal(errs)
	}
	if p.Spec.ServiceAccountName != "default" || p.Spec.DeprecatedServiceAccount != "default" {
		t.Errorf("%q %q", p.Spec.ServiceAccountName, p.Spec.DeprecatedServiceAccount)
	}
	p = parsePod(t, `spec: {serviceAccount: other}`)
	if errs := create(t, p); len(errs) > 0 || p.Spec.ServiceAccountName != "other" {
		t.Errorf("%q, %v", p.Spec.ServiceAccountName, errs)
	}
}

func TestTolerationsThatSaySomethingThemselves(t *testing.T) {
	for text, want := range map[string]int{
		`{}`: 2,
		`spec: {tolerations: [{operator: Exists}]}`:                                                       1,
		`spec: {tolerations: [{operator: Exists, effect: NoSchedule}]}`:                                   3,
		`spec: {tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute}]}`: 2,
	} {
		p := parsePod(t, text)
		if errs := create(t, p); len(errs) > 0 || len(p.Spec.Tolerations) != want {
			t.Errorf("%s: %v, %v", text, p.Spec.Tolerations, errs)
		}
	}
}

func TestQOSClass(t *testing.T) {
	for text, want := range map[string]corev1.PodQOSClass{
		`spec: {}`: corev1.PodQOSBestEffort,
		`spec: {containers: [{name: a, image: i, resources: {limits: {cpu: 1, memory: 1Mi}}}]}`:                                        corev1.PodQOSGuaranteed,
		`spec: {containers: [{name: a, image: i, resources: {limits: {cpu: 1}}}]}`:                                                     corev1.PodQOSBurstable,
		`spec: {containers: [{name: a, image: i, resources: {limits: {cpu: 0, memory: 0}}}]}`:                                          corev1.PodQOSBestEffort,
		`spec: {containers: [{name: a, image: i, resources: {limits: {cpu: 1, memory: 1Mi}}}, {name: b, image: i}]}`:                   corev1.PodQOSBurstable,
		`spec: {containers: [{name: a, image: i, resources: {limits: {cpu: 1, memory: 1Mi}, requests: {cpu: 1m}}}]}`:                   corev1.PodQOSBurstable,
		`spec: {initContainers: [{name: i, image: i}], containers: [{name: a, image: i, resources: {limits: {cpu: 1, memory: 1Mi}}}]}`: corev1.PodQOSBurstable,
	} {
		p := parsePod(t, text)
		SetDefaults(p)
		if got := QOSClass(&p.Spec); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestPortsInTheNodesNetworkAreTheNodes(t *testing.T) {
	p := &corev1.Pod{Spec: corev1.PodSpec{
		HostNetwork: true,
		Containers:  []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 80}, {ContainerPort: 81, HostPort: 82}}}},
	}}
	SetDefaults(p)
	if got := p.Spec.Containers[0].Ports; got[0].HostPort != 80 || got[1].HostPort != 82 {
		t.Errorf("%+v", got)
	}
}
