package fields

import "slices"

const noUser = "files belong to root; set their mode instead"

// volumeRules are the rules of a list of volumes.
func volumeRules(p string) []Rule {
	return slices.Concat(
		each(Honoured, p, "name", "hostPath.path", "hostPath.type"),
		[]Rule{
			only(p+".emptyDir.medium", "use Memory or leave it out", "Memory", "HugePages", "HugePages-*"),
			honoured(p+".emptyDir.sizeLimit", ""),
			refused(p+".emptyDir.mode", "leave it out; the directory is writable for all"),
			honoured(p+".image.reference", "read-only; it is pulled with the pod's imagePullSecrets"),
			honoured(p+".image.pullPolicy", ""),
			refused(p+".csi", "use hostPath"),
		},
		each(Honoured, p+".persistentVolumeClaim", "claimName", "readOnly"),
		claimTemplateRules(p+".ephemeral.volumeClaimTemplate"),
		each(Honoured, p+".secret", "secretName", "optional", "defaultMode"),
		itemRules(p+".secret.items[]"),
		each(Honoured, p+".configMap", "name", "optional", "defaultMode"),
		itemRules(p+".configMap.items[]"),
		each(Honoured, p+".downwardAPI", "defaultMode"),
		downwardRules(p+".downwardAPI.items[]"),
		projectedRules(p+".projected"),
		[]Rule{
			refused(p+".secret.defaultUser", noUser),
			refused(p+".configMap.defaultUser", noUser),
			refused(p+".downwardAPI.defaultUser", noUser),
		},
		foreignVolumeRules(p),
	)
}

// claimTemplateRules are about the claim that is made for a pod.
func claimTemplateRules(p string) []Rule {
	rules := []Rule{
		honoured(p+".metadata.labels", ""), honoured(p+".metadata.annotations", ""),
		only(p+".spec.volumeMode", "block devices are not handed to containers; use Filesystem", "Filesystem"),
		refused(p+".spec.dataSource", "volumes begin empty; fill it from a pod"),
		refused(p+".spec.dataSourceRef", "volumes begin empty; fill it from a pod"),
		refused(p+".spec.volumeAttributesClassName", "there are no such classes; leave it out"),
	}
	for _, name := range []string{
		"name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
		"deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences", "finalizers", "managedFields",
	} {
		rules = append(rules, Rule{Path: p + ".metadata." + name, State: Refused, AsKubernetes: true, Note: "cannot be set"})
	}
	return append(rules, each(Honoured, p+".spec", "accessModes", "selector.matchLabels", "selector.matchExpressions[].key",
		"selector.matchExpressions[].operator", "selector.matchExpressions[].values", "resources.limits", "resources.requests",
		"volumeName", "storageClassName")...)
}

func projectedRules(p string) []Rule {
	s := p + ".sources[]."
	return slices.Concat(
		[]Rule{honoured(p+".defaultMode", ""), refused(p+".defaultUser", noUser)},
		each(Honoured, p+".sources[]", "secret.name", "secret.optional", "configMap.name", "configMap.optional"),
		selectorRules(s+"clusterTrustBundle.labelSelector"),
		itemRules(s+"secret.items[]"),
		itemRules(s+"configMap.items[]"),
		downwardRules(s+"downwardAPI.items[]"),
		[]Rule{
			honoured(s+"serviceAccountToken.path", ""),
			honoured(s+"serviceAccountToken.audience", ""),
			honoured(s+"serviceAccountToken.expirationSeconds", "at least 600; the file has a new token at 80 % of it"),
			refused(s+"serviceAccountToken.user", noUser),
			honoured(s+"clusterTrustBundle.name", ""),
			honoured(s+"clusterTrustBundle.signerName", ""),
			honoured(s+"clusterTrustBundle.optional", ""),
			honoured(s+"clusterTrustBundle.path", "each certificate once, in the order of their bytes"),
			refused(s+"clusterTrustBundle.user", noUser),
			refused(s+"podCertificate", "pods get no certificates; use serviceAccountToken"),
		},
	)
}

func itemRules(p string) []Rule {
	return append(each(Honoured, p, "key", "path", "mode"), refused(p+".user", noUser))
}

func downwardRules(p string) []Rule {
	return slices.Concat(
		each(Honoured, p, "path", "mode"),
		[]Rule{
			refused(p+".user", noUser),
			honoured(p+".fieldRef.apiVersion", "only v1, as in Kubernetes"),
			honoured(p+".fieldRef.fieldPath", "metadata.name, .namespace, .uid, .labels, .annotations, "+
				"metadata.labels['key'], metadata.annotations['key']"),
		},
		resourceRefRules(p+".resourceFieldRef"),
	)
}

func resourceRefRules(p string) []Rule {
	return []Rule{
		honoured(p+".containerName", ""),
		honoured(p+".resource", "limits and requests of cpu, memory, ephemeral-storage and hugepages-*"),
		honoured(p+".divisor", "the result is rounded up; a limit that is not set is the node's allocatable"),
	}
}

// foreignVolumeRules are about storage systems.
func foreignVolumeRules(p string) []Rule {
	var rules []Rule
	for _, name := range []string{
		"nfs", "iscsi", "fc", "cephfs", "rbd", "glusterfs", "cinder", "flexVolume", "flocker", "quobyte",
		"awsElasticBlockStore", "azureDisk", "azureFile", "gcePersistentDisk", "photonPersistentDisk",
		"portworxVolume", "scaleIO", "storageos", "vsphereVolume",
	} {
		rules = append(rules, refused(p+"."+name, "mount it on the node and use hostPath"))
	}
	return append(rules, refused(p+".gitRepo", "clone the repository in an init container"))
}
