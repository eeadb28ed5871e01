package fields

import (
	"fmt"
	"reflect"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pod returns the table of the Pod kind: its metadata and its spec.
func Pod() *Table { return pod() }

var pod = sync.OnceValue(func() *Table {
	t, err := New(slices.Concat(
		metadataRules(),
		containerRules("spec.initContainers[]", true),
		containerRules("spec.containers[]", false),
		ephemeralRules(),
		podSpecRules(),
		podResourceRules("spec.resources"),
		podNamespaceRules(),
		podSecurityRules(),
		podSchedulingRules(),
		volumeRules("spec.volumes[]"),
	))
	if err != nil {
		// The table is a constant of the program, and tests load it.
		panic(fmt.Errorf("table of pod fields: %w", err))
	}
	return t
})

// PodLeaves returns the leaf paths of a Pod's metadata and spec.
func PodLeaves() []string {
	return slices.Concat(
		Leaves(reflect.TypeFor[metav1.ObjectMeta](), "metadata"),
		Leaves(reflect.TypeFor[corev1.PodSpec](), "spec"),
	)
}

// each makes a rule of the same state for every name below the prefix.
func each(state State, prefix string, names ...string) []Rule {
	rules := make([]Rule, len(names))
	for i, name := range names {
		rules[i] = Rule{Path: prefix + "." + name, State: state}
	}
	return rules
}

func honoured(path, note string) Rule { return Rule{Path: path, State: Honoured, Note: note} }

func only(path, note string, values ...string) Rule {
	return Rule{Path: path, State: Limited, Only: values, Note: note}
}

func (r Rule) later(values ...string) Rule {
	r.Later = values
	return r
}

func refused(path, note string) Rule { return Rule{Path: path, State: Refused, Note: note} }

// refusedUnlessEmpty is for objects that templates leave behind empty.
func refusedUnlessEmpty(path, note string) Rule {
	return Rule{Path: path, State: Refused, Note: note, EmptyOK: true}
}

func metadataRules() []Rule {
	return slices.Concat(
		each(Honoured, "metadata", "name", "generateName", "namespace", "labels", "annotations",
			"finalizers"),
		each(Honoured, "metadata.ownerReferences[]", "apiVersion", "kind", "name", "uid",
			"controller", "blockOwnerDeletion"),
		[]Rule{
			{Path: "metadata.uid", State: System, Note: "in an update or a delete: a precondition"},
			{Path: "metadata.resourceVersion", State: System, Note: "in an update or a delete: a precondition"},
		},
		each(System, "metadata", "generation", "creationTimestamp", "deletionTimestamp",
			"deletionGracePeriodSeconds", "managedFields", "selfLink"),
	)
}

func podSpecRules() []Rule {
	return slices.Concat(
		each(Honoured, "spec", "restartPolicy", "terminationGracePeriodSeconds",
			"activeDeadlineSeconds", "nodeName", "nodeSelector", "hostname", "subdomain"),
		each(Honoured, "spec.tolerations[]", "key", "operator", "value", "effect", "tolerationSeconds"),
		each(Honoured, "spec.hostAliases[]", "ip", "hostnames"),
		each(Honoured, "spec.dnsConfig", "nameservers", "searches"),
		each(Honoured, "spec.dnsConfig.options[]", "name", "value"),
		[]Rule{
			honoured("spec.dnsPolicy", "there is no cluster DNS yet: ClusterFirst resolves as Default does"),
			honoured("spec.enableServiceLinks", "there are no Services yet: both values add the variables of the API alone"),
			honoured("spec.setHostnameAsFQDN", "a full name of more than 64 characters keeps the pod from starting, as in Kubernetes"),
			honoured("spec.hostnameOverride", "cut to 63 characters, as in Kubernetes"),
			only("spec.os.name", "carob runs Linux containers", "linux").later("windows"),
			honoured("spec.runtimeClassName", "a handler of the node's configuration"),
			honoured("spec.imagePullSecrets[].name", "of the types kubernetes.io/dockerconfigjson and dockercfg"),
			honoured("spec.readinessGates[].conditionType", ""),
			refused("spec.resourceClaims", "devices are not allocated; mount what is needed with hostPath"),
			honoured("spec.overhead", "what the runtime class says"),
			refused("spec.evictionResponders", "an eviction deletes the pod; leave it out"),
		},
	)
}

// podResourceRules are about what the containers of a pod share.
func podResourceRules(p string) []Rule {
	const note = "cpu, memory and hugepages-*"
	return []Rule{
		honoured(p+".limits", note),
		honoured(p+".requests", note),
		{Path: p + ".claims", State: Refused, AsKubernetes: true, Note: "claims may not be set for Resources at pod-level"},
	}
}

func podNamespaceRules() []Rule {
	return []Rule{
		honoured("spec.hostNetwork", "the node's network, hostname and hosts file; the pod's IPs are the node's"),
		honoured("spec.hostPID", ""),
		honoured("spec.hostIPC", "the node's /dev/shm too"),
		honoured("spec.shareProcessNamespace", ""),
		honoured("spec.hostUsers", "false needs Linux 6.3 and an OCI runtime that maps IDs (runc 1.2); a node without waits with FailedCreatePodSandBox"),
		honoured("spec.serviceAccountName", ""),
		honoured("spec.serviceAccount", ""),
		honoured("spec.automountServiceAccountToken", ""),
	}
}

func podSecurityRules() []Rule {
	const p = "spec.securityContext."
	return append(sharedSecurityRules(p),
		honoured(p+"supplementalGroups", ""),
		honoured(p+"supplementalGroupsPolicy", ""),
		honoured(p+"fsGroup", "of all volumes but hostPath"),
		honoured(p+"fsGroupChangePolicy", "both values do the same, as carob's volumes are made with their group"),
		honoured(p+"sysctls[].name", "a pod with one that is not safe fails with SysctlForbidden"),
		honoured(p+"sysctls[].value", ""),
		honoured(p+"seLinuxChangePolicy", "both values do the same, as only the volumes of CSI drivers can be mounted with a label"),
	)
}

func podSchedulingRules() []Rule {
	return slices.Concat(
		[]Rule{
			honoured("spec.schedulerName", "carob's own scheduler leaves pods of other names to others"),
			honoured("spec.priority", "what priorityClassName says"),
			honoured("spec.priorityClassName", ""),
			honoured("spec.preemptionPolicy", "what priorityClassName says"),
			honoured("spec.schedulingGates[].name", ""),
			refusedUnlessEmpty("spec.schedulingGroup", "pods are scheduled one by one"),
		},
		nodeAffinityRules("spec.affinity.nodeAffinity."),
		podAffinityRules("spec.affinity.podAffinity."),
		podAffinityRules("spec.affinity.podAntiAffinity."),
		spreadRules("spec.topologySpreadConstraints[]"),
	)
}

const (
	requiredTerms  = "requiredDuringSchedulingIgnoredDuringExecution"
	preferredTerms = "preferredDuringSchedulingIgnoredDuringExecution"
)

func nodeAffinityRules(p string) []Rule {
	var rules []Rule
	for _, term := range []string{p + requiredTerms + ".nodeSelectorTerms[]", p + preferredTerms + "[].preference"} {
		rules = append(rules, each(Honoured, term+".matchExpressions[]", "key", "operator", "values")...)
		rules = append(rules, each(Honoured, term+".matchFields[]", "key", "operator", "values")...)
	}
	return append(rules, honoured(p+preferredTerms+"[].weight", ""))
}

func podAffinityRules(p string) []Rule {
	rules := []Rule{honoured(p+preferredTerms+"[].weight", "")}
	for _, term := range []string{p + requiredTerms + "[]", p + preferredTerms + "[].podAffinityTerm"} {
		rules = append(rules, selectorRules(term+".labelSelector")...)
		rules = append(rules, selectorRules(term+".namespaceSelector")...)
		rules = append(rules, each(Honoured, term, "namespaces", "topologyKey", "matchLabelKeys", "mismatchLabelKeys")...)
	}
	return rules
}

func spreadRules(p string) []Rule {
	return append(selectorRules(p+".labelSelector"), each(Honoured, p, "maxSkew", "topologyKey", "whenUnsatisfiable",
		"minDomains", "nodeAffinityPolicy", "nodeTaintsPolicy", "matchLabelKeys")...)
}

func selectorRules(p string) []Rule {
	return append(each(Honoured, p+".matchExpressions[]", "key", "operator", "values"), honoured(p+".matchLabels", ""))
}
