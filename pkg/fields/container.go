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
	return append(sharedSecurityRules(p),
		honoured(p+"privileged", ""),
		honoured(p+"readOnlyRootFilesystem", ""),
		honoured(p+"allowPrivilegeEscalation", ""),
		only(p+"procMount", "/proc is masked as usual; Unmasked needs a user namespace", "Default"),
		honoured(p+"capabilities.add", "one that the node itself lacks fails the container"),
		honoured(p+"capabilities.drop", ""),
	)
}

// sharedSecurityRules are about what both a pod and a container can say.
func sharedSecurityRules(p string) []Rule {
	return []Rule{
		honoured(p+"runAsUser", ""),
		honoured(p+"runAsGroup", ""),
		honoured(p+"runAsNonRoot", ""),
		honoured(p+"seccompProfile.type", "without it RuntimeDefault holds; privileged containers have none"),
		honoured(p+"seccompProfile.localhostProfile", "relative to <data-dir>/seccomp"),
		only(p+"appArmorProfile.type", "no AppArmor profiles are loaded; leave it out", "Unconfined"),
		refused(p+"appArmorProfile.localhostProfile", "no AppArmor profiles are loaded; leave it out"),
		refusedUnlessEmpty(p+"seLinuxOptions", "SELinux labels are not set; leave it out"),
		refusedUnlessEmpty(p+"windowsOptions", "carob runs Linux containers"),
	}
}
