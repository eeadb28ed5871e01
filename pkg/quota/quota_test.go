package quota

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

func read[T any](t *testing.T, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out
}

func show(list corev1.ResourceList) string {
	var out []string
	for _, name := range Names(list) {
		amount := list[name]
		out = append(out, fmt.Sprintf("%s=%s", name, amount.String()))
	}
	return strings.Join(out, " ")
}

func TestPodUsage(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct{ pod, want string }{
		{"spec: {containers: [{name: c}]}", "count/pods=1 pods=1"},
		{
			"spec: {containers: [{name: c, resources: {requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 2, ephemeral-storage: 1Gi}}}, {name: d, resources: {requests: {cpu: 500m}}}], " +
				"initContainers: [{name: i, resources: {requests: {cpu: 3}}}]}",
			"count/pods=1 cpu=3 limits.cpu=2 limits.ephemeral-storage=1Gi memory=1Gi pods=1 requests.cpu=3 requests.memory=1Gi",
		},
		{
			"spec: {containers: [{name: c, resources: {limits: {hugepages-2Mi: 4Mi, example.com/gpu: 2}, requests: {hugepages-2Mi: 4Mi, example.com/gpu: 2}}}]}",
			"count/pods=1 hugepages-2Mi=4Mi pods=1 requests.example.com/gpu=2 requests.hugepages-2Mi=4Mi",
		},
		{"spec: {resources: {requests: {cpu: 2}, limits: {cpu: 4}}, containers: [{name: c, resources: {requests: {cpu: 1}}}]}", "count/pods=1 cpu=2 limits.cpu=4 pods=1 requests.cpu=2"},
		{"spec: {overhead: {memory: 1Mi}, containers: [{name: c, resources: {requests: {memory: 1Mi}}}]}", "count/pods=1 memory=2Mi pods=1 requests.memory=2Mi"},
		{ // a resize that the node has not done yet counts for the larger one
			"spec: {containers: [{name: c, resources: {requests: {cpu: 1}}}]}\n" +
				"status: {containerStatuses: [{name: c, ready: true, restartCount: 0, image: i, imageID: '', resources: {requests: {cpu: 2}}, allocatedResources: {cpu: 2}}]}",
			"count/pods=1 cpu=2 pods=1 requests.cpu=2",
		},
		{"spec: {containers: [{name: c, resources: {requests: {cpu: 1}}}]}\nstatus: {phase: Succeeded}", "count/pods=1"},
		{"spec: {containers: []}\nstatus: {phase: Failed}", "count/pods=1"},
		{"metadata: {deletionTimestamp: '1970-01-01T00:16:40Z', deletionGracePeriodSeconds: 30}\nspec: {containers: []}", "count/pods=1 pods=1"},
		{"metadata: {deletionTimestamp: '1970-01-01T00:15:40Z', deletionGracePeriodSeconds: 30}\nspec: {containers: []}", "count/pods=1"},
	} {
		if got := show(Pods().Usage(read[corev1.Pod](t, c.pod), now)); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.pod, got, c.want)
		}
	}
}

func TestScopes(t *testing.T) {
	const plain, bounded = "spec: {containers: [{name: c}]}", "spec: {activeDeadlineSeconds: 5, priorityClassName: high, containers: [{name: c, resources: {requests: {cpu: 1}}}]}"
	for _, c := range []struct {
		scope          string
		plain, bounded bool
	}{
		{"scopeName: Terminating, operator: Exists", false, true},
		{"scopeName: NotTerminating, operator: Exists", true, false},
		{"scopeName: BestEffort, operator: Exists", true, false},
		{"scopeName: NotBestEffort, operator: Exists", false, true},
		{"scopeName: PriorityClass, operator: Exists", false, true},
		{"scopeName: PriorityClass, operator: DoesNotExist", true, false},
		{"scopeName: PriorityClass, operator: In, values: [low, high]", false, true},
		{"scopeName: PriorityClass, operator: In, values: [low]", false, false},
		{"scopeName: PriorityClass, operator: NotIn, values: [high]", true, false},
		{"scopeName: PriorityClass, operator: Other", false, false},
		{"scopeName: VolumeAttributesClass, operator: Exists", false, false},
		{"scopeName: CrossNamespacePodAffinity, operator: Exists", false, false},
	} {
		scopes := []corev1.ScopedResourceSelectorRequirement{*read[corev1.ScopedResourceSelectorRequirement](t, "{"+c.scope+"}")}
		for text, want := range map[string]bool{plain: c.plain, bounded: c.bounded} {
			if got := Pods().Includes(scopes, read[corev1.Pod](t, text)); got != want {
				t.Errorf("%s of %s: %v", c.scope, text, got)
			}
		}
		if Counted(corev1.Resource("secrets")).Includes(scopes, &corev1.Secret{}) {
			t.Errorf("a secret is in %s", c.scope)
		}
	}
	elsewhere := []corev1.ScopedResourceSelectorRequirement{{ScopeName: corev1.ResourceQuotaScopeCrossNamespacePodAffinity, Operator: corev1.ScopeSelectorOpExists}}
	for affinity, want := range map[string]bool{
		"podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a, namespaces: [b]}]}":                                          true,
		"podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a}]}":                                                           false,
		"podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: a, namespaceSelector: {}}}]}": true,
	} {
		p := read[corev1.Pod](t, "spec: {containers: [], affinity: {"+affinity+"}}")
		if got := Pods().Includes(elsewhere, p); got != want {
			t.Errorf("%s: %v", affinity, got)
		}
	}
	if got := Scopes(&corev1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{"BestEffort"}, ScopeSelector: &corev1.ScopeSelector{MatchExpressions: elsewhere}}); len(got) != 2 || got[0].Operator != corev1.ScopeSelectorOpExists {
		t.Errorf("%+v", got)
	}
}

func TestUnsaid(t *testing.T) {
	bounded := []corev1.ResourceName{"limits.memory", "requests.cpu", "cpu", "pods", "requests.ephemeral-storage"}
	p := read[corev1.Pod](t, "spec: {containers: [{name: b}, {name: a, resources: {limits: {memory: 1}}}], initContainers: [{name: i, resources: {requests: {cpu: 1}}}]}")
	if got, want := Unsaid(p, bounded), "must specify cpu for: a,b; limits.memory for: b,i; requests.cpu for: a,b"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := Unsaid(read[corev1.Pod](t, "spec: {resources: {requests: {cpu: 1}}, containers: [{name: a}]}"), bounded); got != "" {
		t.Error(got)
	}
	if got := Unsaid(read[corev1.Pod](t, "spec: {containers: [{name: a}]}"), []corev1.ResourceName{"pods", "hugepages-2Mi"}); got != "" {
		t.Error(got)
	}
}

func TestOtherKinds(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{Spec: *read[corev1.PersistentVolumeClaimSpec](t, "{storageClassName: gold, resources: {requests: {storage: 1500m}}}")}
	if got, want := show(Claims().Usage(claim, time.Time{})), "count/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 "+
		"gold.storageclass.storage.k8s.io/requests.storage=2 persistentvolumeclaims=1 requests.storage=2"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	claim.Status = *read[corev1.PersistentVolumeClaimStatus](t, "{allocatedResources: {storage: 5}}")
	claim.ObjectMeta = metav1.ObjectMeta{Annotations: map[string]string{corev1.BetaStorageClassAnnotation: ""}}
	if got, want := show(Claims().Usage(claim, time.Time{})), "count/persistentvolumeclaims=1 persistentvolumeclaims=1 requests.storage=5"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	in := corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeVolumeAttributesClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"fast"}}
	if Claims().Fits(in, claim) {
		t.Error("a claim without a class is in it")
	}
	claim.Status.CurrentVolumeAttributesClassName = ptr.To("fast")
	if !Claims().Fits(in, claim) {
		t.Error("a claim is not in its class")
	}
	for spec, want := range map[string]string{
		"{type: ClusterIP, ports: [{port: 1}]}":           "services.loadbalancers=0 services.nodeports=0",
		"{type: NodePort, ports: [{port: 1}, {port: 2}]}": "services.loadbalancers=0 services.nodeports=2",
		"{type: LoadBalancer, ports: [{port: 1}]}":        "services.loadbalancers=1 services.nodeports=1",
		"{type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{port: 1, nodePort: 30000}, {port: 2}]}": "services.loadbalancers=1 services.nodeports=1",
	} {
		s := &corev1.Service{Spec: *read[corev1.ServiceSpec](t, spec)}
		if got := show(Services().Usage(s, time.Time{})); got != "count/services=1 services=1 "+want {
			t.Errorf("%s: %s", spec, got)
		}
	}
	for _, c := range []struct{ resource, name string }{
		{"secrets", "secrets"}, {"secrets", "count/secrets"}, {"deployments.apps", "count/deployments.apps"}, {"pods", "requests.example.com/gpu"},
		{"pods", "requests.hugepages-1Gi"}, {"persistentvolumeclaims", "x.storageclass.storage.k8s.io/requests.storage"}, {"services", "services.nodeports"},
	} {
		for _, other := range []string{"secrets", "deployments.apps", "pods", "persistentvolumeclaims", "services"} {
			gr, _, _ := strings.Cut(other, ".")
			k := For(corev1.Resource(gr))
			if other == "deployments.apps" {
				k = Counted(corev1.Resource("deployments"))
				k.Resource.Group = "apps"
				k = For(k.Resource)
			}
			if got := k.Tracks(corev1.ResourceName(c.name)); got != (other == c.resource) {
				t.Errorf("%s tracks %s: %v", other, c.name, got)
			}
		}
	}
}
