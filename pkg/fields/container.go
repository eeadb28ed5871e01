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
		each(Honoured, p, "imagePullPolicy", "terminationMessagePath", "terminationMessagePolicy",
			"stdin", "stdinOnce", "tty"),
		containerResourceRules(p+".resources"),
		containerLifeRules(p, init),
		[]Rule{
			honoured(p+".volumeMounts[].mountPropagation", "a hostPath has to be on a shared mount of the node"),
			honoured(p+".volumeMounts[].recursiveReadOnly", "Enabled needs Linux 5.12 and an OCI runtime that tells of rro, such as runc 1.1"),
			refused(p+".volumeMounts[].bindMountOptions", "leave it out"),
			refused(p+".volumeDevices", "mount a directory with volumeMounts"),
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
		each(Honoured, from+".fileKeyRef", "volumeName", "path", "optional"),
		[]Rule{
			honoured(from+".fileKeyRef.key", "of a line KEY='value' in a file of at most 1 MiB"),
			honoured(p+".envFrom[].prefix", ""),
		},
		each(Honoured, p+".envFrom[].configMapRef", "name", "optional"),
		each(Honoured, p+".envFrom[].secretRef", "name", "optional"),
	)
}

func containerResourceRules(p string) []Rule {
	const note = "only cpu, memory, ephemeral-storage and huge pages are counted and limited"
	keys, later := []string{"cpu", "memory", "ephemeral-storage", "hugepages-*"}, []string{"?*/?*"}
	return []Rule{
		{Path: p + ".limits", State: Limited, Keys: keys, Later: later, Note: note},
		{Path: p + ".requests", State: Limited, Keys: keys, Later: later, Note: note},
		refused(p+".claims", "devices are not allocated; leave it out"),
	}
}

func containerLifeRules(p string, init bool) []Rule {
	restart := honoured(p+".restartPolicy", "instead of that of the pod")
	if init {
		restart.Note += "; with Always the container runs beside the others"
	}
	return slices.Concat(
		probeRules(p+".startupProbe"), probeRules(p+".livenessProbe"), probeRules(p+".readinessProbe"),
		hookRules(p+".lifecycle.postStart"), hookRules(p+".lifecycle.preStop"),
		[]Rule{
			honoured(p+".lifecycle.stopSignal", "it needs spec.os.name"),
			restart,
			honoured(p+".restartPolicyRules[].action", "Restart, or RestartAllContainers without a grace period"),
			honoured(p+".restartPolicyRules[].exitCodes.operator", ""),
			honoured(p+".restartPolicyRules[].exitCodes.values", ""),
			honoured(p+".resizePolicy[].resourceName", "the subresource resize changes resources, as kubectl patch --subresource resize does"),
			honoured(p+".resizePolicy[].restartPolicy", ""),
		},
	)
}

// probeRules are those of a probe. Its network kinds are dialled from the node.
func probeRules(p string) []Rule {
	return slices.Concat(
		each(Honoured, p, "exec.command", "tcpSocket.host", "tcpSocket.port", "grpc.port", "grpc.service", "grpc.mode"),
		httpGetRules(p),
		each(Honoured, p, "initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold",
			"failureThreshold", "terminationGracePeriodSeconds"),
	)
}

func hookRules(p string) []Rule {
	return slices.Concat(
		each(Honoured, p, "exec.command", "sleep.seconds"),
		httpGetRules(p),
		[]Rule{refused(p+".tcpSocket", "use httpGet or exec; Kubernetes does nothing with it either")},
	)
}

func httpGetRules(p string) []Rule {
	return each(Honoured, p, "httpGet.path", "httpGet.port", "httpGet.host", "httpGet.scheme", "httpGet.protocol",
		"httpGet.httpHeaders[].name", "httpGet.httpHeaders[].value")
}

func containerSecurityRules(p string) []Rule {
	return append(sharedSecurityRules(p),
		honoured(p+"privileged", ""),
		honoured(p+"readOnlyRootFilesystem", ""),
		honoured(p+"allowPrivilegeEscalation", ""),
		honoured(p+"procMount", "Unmasked needs hostUsers: false"),
		honoured(p+"capabilities.add", "one that the node itself lacks fails the container"),
		honoured(p+"capabilities.drop", ""),
	)
}

const noLabels = "without SELinux on the node it means nothing, as in Kubernetes"

// sharedSecurityRules are about what both a pod and a container can say.
func sharedSecurityRules(p string) []Rule {
	return []Rule{
		honoured(p+"runAsUser", ""),
		honoured(p+"runAsGroup", ""),
		honoured(p+"runAsNonRoot", ""),
		honoured(p+"seccompProfile.type", "without it RuntimeDefault holds; privileged containers have none"),
		honoured(p+"seccompProfile.localhostProfile", "relative to <data-dir>/seccomp"),
		honoured(p+"appArmorProfile.type", "a node without AppArmor rejects pods that name a profile"),
		honoured(p+"appArmorProfile.localhostProfile", "one that is loaded on the node"),
		honoured(p+"seLinuxOptions.level", noLabels), honoured(p+"seLinuxOptions.role", noLabels),
		honoured(p+"seLinuxOptions.type", noLabels), honoured(p+"seLinuxOptions.user", noLabels),
		refusedUnlessEmpty(p+"windowsOptions", "carob runs Linux containers"),
	}
}

// ephemeralRules are those of the containers that debug a pod. They come with
// a subresource only: a new pod with one is refused.
func ephemeralRules() []Rule {
	const p = "spec.ephemeralContainers[]"
	never := func(names ...string) []Rule {
		rules := make([]Rule, 0, len(names))
		for _, name := range names {
			rules = append(rules, Rule{
				Path: p + "." + name, State: Refused, AsKubernetes: true, Note: "cannot be set for an Ephemeral Container",
			})
		}
		return rules
	}
	return slices.Concat(
		[]Rule{honoured(p+".name", "added with the subresource ephemeralcontainers, as kubectl debug does")},
		each(Honoured, p, "image", "command", "args", "workingDir", "imagePullPolicy", "terminationMessagePath",
			"terminationMessagePolicy", "stdin", "stdinOnce", "tty"),
		envRules(p),
		each(Honoured, p+".volumeMounts[]", "name", "mountPath", "readOnly"),
		never("volumeMounts[].subPath", "volumeMounts[].subPathExpr", "ports", "resources", "resizePolicy",
			"restartPolicy", "restartPolicyRules", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"),
		[]Rule{
			honoured(p+".volumeMounts[].mountPropagation", "a hostPath has to be on a shared mount of the node"),
			honoured(p+".volumeMounts[].recursiveReadOnly", "Enabled needs Linux 5.12 and an OCI runtime that tells of rro, such as runc 1.1"),
			refused(p+".volumeMounts[].bindMountOptions", "leave it out"),
			refused(p+".volumeDevices", "mount a directory with volumeMounts"),
			honoured(p+".targetContainerName", "sees the processes of that container"),
		},
		containerSecurityRules(p+".securityContext."),
	)
}
