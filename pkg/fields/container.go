package fields

import "slices"

// containerRules are the rules of one list of containers.
func containerRules(p string, init bool) []Rule {
	return slices.Concat(
		each(Honoured, p, "name", "image", "command", "args", "workingDir"),
		envRules(p),
		each(Honoured, p+".ports[]", "name", "containerPort", "protocol", "hostPort", "hostIP"),
		each(Honoured, p+".volumeMounts[]", "name", "mountPath", "readOnly", "subPath"),
		[]Rule{honoured(p+".volumeMounts[].subPathExpr", "$(NAME) of a variable is expanded")},
		each(Honoured, p, "imagePullPolicy", "terminationMessagePath", "terminationMessagePolicy"),
		containerResourceRules(p+".resources"),
		containerLifeRules(p, init),
		[]Rule{
			only(p+".volumeMounts[].mountPropagation", "mounts do not propagate", "None"),
			only(p+".volumeMounts[].recursiveReadOnly", "readOnly covers the mount itself", "Disabled"),
			refused(p+".volumeMounts[].bindMountOptions", "leave it out"),
			refused(p+".volumeDevices", "mount a directory with volumeMounts"),
			only(p+".stdin", "there is no attach; standard input is empty", "false"),
			only(p+".stdinOnce", "there is no attach; standard input is empty", "false"),
			only(p+".tty", "there is no terminal", "false"),
		},
		containerSecurityRules(p+".securityContext."),
	)
}

// envRules are about a container's variables.
func envRules(p string) []Rule {
	from := p + ".env[].valueFrom"
	return slices.Concat(
		[]Rule{
			honoured(p+".env[].name", ""),
			honoured(p+".env[].value", "$(NAME) of an earlier variable is expanded"),
			honoured(from+".fieldRef.apiVersion", "only v1, as in Kubernetes"),
			honoured(from+".fieldRef.fieldPath", "metadata.name, .namespace, .uid, metadata.labels['key'], "+
				"metadata.annotations['key'], spec.nodeName, spec.serviceAccountName, status.hostIP, .hostIPs, "+
				".podIP, .podIPs"),
		},
		resourceRefRules(from+".resourceFieldRef"),
		each(Honoured, from+".configMapKeyRef", "name", "key", "optional"),
		each(Honoured, from+".secretKeyRef", "name", "key", "optional"),
		[]Rule{
			refused(from+".fileKeyRef", "let the command read the file"),
			honoured(p+".envFrom[].prefix", ""),
		},
		each(Honoured, p+".envFrom[].configMapRef", "name", "optional"),
		each(Honoured, p+".envFrom[].secretRef", "name", "optional"),
	)
}

func containerResourceRules(p string) []Rule {
	const note = "only cpu and memory are counted and limited"
	later := []string{"ephemeral-storage", "hugepages-*", "?*/?*"}
	return []Rule{
		{Path: p + ".limits", State: Limited, Keys: []string{"cpu", "memory"}, Later: later, Note: note},
		{Path: p + ".requests", State: Limited, Keys: []string{"cpu", "memory"}, Later: later, Note: note},
		refused(p+".claims", "devices are not allocated; leave it out"),
	}
}

func containerLifeRules(p string, init bool) []Rule {
	restart := "the restartPolicy of the pod holds for all its containers"
	if init {
		restart = "sidecars are not run beside others; list the container in containers"
	}
	const probe = "containers are not probed, one that runs is ready; leave it out"
	return []Rule{
		refused(p+".restartPolicy", restart),
		refused(p+".restartPolicyRules", "the restartPolicy of the pod holds for all its containers"),
		refused(p+".resizePolicy", "replace the pod to change its resources"),
		refused(p+".livenessProbe", probe),
		refused(p+".readinessProbe", probe),
		refused(p+".startupProbe", probe),
		refusedUnlessEmpty(p+".lifecycle", "hooks are not run; let the command do the work"),
	}
}

func containerSecurityRules(p string) []Rule {
	const asImage = "containers run as the user their image names"
	return []Rule{
		refused(p+"runAsUser", asImage),
		refused(p+"runAsGroup", asImage),
		only(p+"runAsNonRoot", asImage, "false"),
		only(p+"privileged", "containers have the default capabilities and devices", "false"),
		only(p+"readOnlyRootFilesystem", "the root file system is writable", "false"),
		only(p+"allowPrivilegeEscalation", "processes may gain privileges, Kubernetes' default", "true"),
		only(p+"procMount", "/proc is masked as usual", "Default"),
		refusedUnlessEmpty(p+"capabilities", "containers have the default capabilities"),
		refusedUnlessEmpty(p+"seccompProfile", ownSeccomp),
		refusedUnlessEmpty(p+"appArmorProfile", "leave it out"),
		refusedUnlessEmpty(p+"seLinuxOptions", "leave it out"),
		refusedUnlessEmpty(p+"windowsOptions", "carob runs Linux containers"),
	}
}
