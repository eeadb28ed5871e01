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
		each(Honoured, "spec.tolerations[]", "key", "value", "effect", "tolerationSeconds"),
		each(Honoured, "spec.hostAliases[]", "ip", "hostnames"),
		each(Honoured, "spec.dnsConfig", "nameservers", "searches"),
		each(Honoured, "spec.dnsConfig.options[]", "name", "value"),
		[]Rule{
			only("spec.tolerations[].operator", "compare with Equal or Exists",
				"Equal", "Exists").later("Lt", "Gt"),
			honoured("spec.dnsPolicy", "there is no cluster DNS yet: ClusterFirst resolves as Default does"),
			honoured("spec.enableServiceLinks", "there are no Services yet, so both values add nothing"),
			only("spec.setHostnameAsFQDN", "the hostname stays the short name", "false"),
			refused("spec.hostnameOverride", "use hostname"),
			only("spec.os.name", "carob runs Linux containers", "linux"),
			refused("spec.runtimeClassName", "every pod runs with the node's runtime; leave it out"),
			refused("spec.imagePullSecrets", "registries are read without credentials; "+
				"import the image with 'carob image import'"),
			honoured("spec.readinessGates[].conditionType", ""),
			refused("spec.resources", "set resources of the containers"),
			refused("spec.resourceClaims", "devices are not allocated; mount what is needed with hostPath"),
			refused("spec.overhead", "there are no runtime classes; leave it out"),
			refused("spec.evictionResponders", "an eviction deletes the pod; leave it out"),
		},
	)
}

func podNamespaceRules() []Rule {
	return []Rule{
		honoured("spec.hostNetwork", "the node's network, hostname and hosts file; the pod's IPs are the node's"),
		honoured("spec.hostPID", ""),
		honoured("spec.hostIPC", "the node's /dev/shm too"),
		only("spec.shareProcessNamespace", "every container has its own processes", "false"),
		only("spec.hostUsers", "containers use the node's user IDs", "true"),
		only("spec.serviceAccountName", "pods get no identity; leave it out", "default"),
		only("spec.serviceAccount", "pods get no identity; leave it out", "default"),
		only("spec.automountServiceAccountToken", "no token is mounted", "false"),
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
		refused(p+"seLinuxChangePolicy", "SELinux labels are not set; leave it out"),
	)
}

func podSchedulingRules() []Rule {
	return []Rule{
		only("spec.schedulerName", "the scheduler is carob's own", "default-scheduler"),
		only("spec.priority", "pods are all of one priority; leave it out", "0"),
		refused("spec.priorityClassName", "pods are all of one priority; leave it out"),
		only("spec.preemptionPolicy", "pods are all of one priority; leave it out", "PreemptLowerPriority"),
		refusedUnlessEmpty("spec.affinity", "use nodeSelector"),
		refused("spec.topologySpreadConstraints", "use nodeSelector"),
		honoured("spec.schedulingGates[].name", ""),
		refusedUnlessEmpty("spec.schedulingGroup", "pods are scheduled one by one"),
	}
}
