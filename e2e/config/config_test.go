// Package config checks how containers get their settings: variables from
// fields, resources, ConfigMaps and Secrets, and paths made of variables.
package config

import (
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// logs waits until the pod's log holds all of want.
func logs(t *testing.T, c *harness.Carob, pod string, want ...string) string {
	t.Helper()
	var out string
	harness.Eventually(t, 30*time.Second, func() string {
		var err error
		if out, err = c.Kubectl("logs", pod); err != nil {
			return "got " + out
		}
		for _, w := range want {
			if !strings.Contains("\n"+out, "\n"+w+"\n") {
				return "no line " + w + " in\n" + out
			}
		}
		return ""
	})
	return out
}

const fields = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {mode: fast, 1st: first}
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: carobtree}
---
apiVersion: v1
kind: Pod
metadata: {name: vars, labels: {tier: demo}, annotations: {example.com/Note: hi}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, 'tr "\0" "\n" < /proc/1/environ; ls /logs; cat /files/cpu /files/memory; echo " end"; exec sleep 100000']
      resources: {limits: {cpu: 1500m, memory: 33Mi}, requests: {cpu: 250m}}
      envFrom:
        - {prefix: SET_, configMapRef: {name: settings}}
        - {prefix: 2-, secretRef: {name: login}}
        - {configMapRef: {name: none, optional: true}}
      env:
        - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        - {name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
        - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['example.com/Note']"}}}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: SA, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
        - {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
        - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: POD_IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
        - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
        - {name: MILLIS, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
        - {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Gi}}}
        - {name: FREE_CPUS, valueFrom: {resourceFieldRef: {containerName: other, resource: limits.cpu}}}
        - {name: MODE, valueFrom: {configMapKeyRef: {name: settings, key: mode}}}
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: login, key: password}}}
        - {name: ABSENT, valueFrom: {secretKeyRef: {name: login, key: nothing, optional: true}}}
        - {name: URL, value: "http://$(POD_IP)/$(SET_mode)/$(ABSENT)"}
      volumeMounts:
        - {name: logs, mountPath: /logs}
        - {name: logs, mountPath: /own, subPathExpr: $(NAME)/$(MODE)}
        - {name: files, mountPath: /files}
    - {name: other, image: 'busybox:1.35', command: [sleep, '100000']}
  volumes:
    - {name: logs, emptyDir: {}}
    - name: files
      downwardAPI:
        items:
          - {path: cpu, resourceFieldRef: {containerName: other, resource: limits.cpu}}
          - {path: memory, resourceFieldRef: {containerName: other, resource: limits.memory, divisor: 1Gi}}
`

func TestVariables(t *testing.T) {
	c := harness.Started(t)
	c.Apply(t, fields)
	c.WaitReady(t, "vars")
	ip, host := c.Get(t, "pod", "vars", "{.status.podIP}"), c.Get(t, "pod", "vars", "{.status.hostIP}")
	node := c.Get(t, "pod", "vars", "{.spec.nodeName}")
	cpus := c.Get(t, "node", node, "{.status.allocatable.cpu}")
	out := logs(t, c, "vars",
		"SET_mode=fast", "SET_1st=first", "NAME=vars", "NS=default", "TIER=demo", "NOTE=hi", "NODE="+node, "SA=default",
		"HOST_IP="+host, "POD_IP="+ip, "POD_IPS="+ip, "CPUS=2", "MILLIS=250", "MEM=1", "FREE_CPUS="+cpus, "MODE=fast",
		"PASSWORD=carobtree", "URL=http://"+ip+"/fast/$(ABSENT)", "vars")
	if strings.Contains(out, "\nABSENT=") || !strings.Contains(out, "\n2-password=carobtree\n") {
		t.Error(out)
	}
	if !strings.Contains(out, "\n"+cpus) || ip == "" || host == "" {
		t.Errorf("the node's %s CPUs are not in the file, or there are no IPs:\n%s", cpus, out)
	}
}

// waits applies a pod whose container has env and waits for its error.
func waits(t *testing.T, c *harness.Carob, name, env, want string) {
	t.Helper()
	c.Apply(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: "+name+"}\nspec: {terminationGracePeriodSeconds: 0, containers: [{name: a, image: 'busybox:1.35', command: [sleep, '1000'], "+env+"}]}\n")
	harness.Eventually(t, 20*time.Second, func() string {
		const path = "{.status.containerStatuses[0].state.waiting.reason}: {.status.containerStatuses[0].state.waiting.message}"
		if got := c.Get(t, "pod", name, path); got != "CreateContainerConfigError: "+want {
			return "got " + got
		}
		return ""
	})
	harness.Eventually(t, 5*time.Second, func() string {
		out := c.K(t, "get", "events", "--field-selector", "reason=Failed,involvedObject.name="+name)
		if !strings.Contains(out, "Error: "+want) {
			return "got " + out
		}
		return ""
	})
}

func TestWhatIsMissingIsNamedAndWaitedFor(t *testing.T) {
	c := harness.Started(t)
	waits(t, c, "map", "envFrom: [{configMapRef: {name: later}}]", `configmap "later" not found`)
	waits(t, c, "secret", "env: [{name: A, valueFrom: {secretKeyRef: {name: later, key: a}}}]", `secret "later" not found`)
	c.K(t, "create", "configmap", "later", "--from-literal=a=b")
	waits(t, c, "key", "env: [{name: A, valueFrom: {configMapKeyRef: {name: later, key: k}}}]", "couldn't find key k in ConfigMap default/later")
	c.K(t, "create", "secret", "generic", "later", "--from-literal=a=b")
	c.WaitReady(t, "map")
	c.WaitReady(t, "secret")
}

func TestImmutableObjectsStayAsTheyAre(t *testing.T) {
	c := harness.Started(t)
	c.Apply(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fixed}\ndata: {a: b}\nimmutable: true\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: fixed}\nstringData: {a: b}\nimmutable: true\n")
	for _, args := range [][]string{
		{"configmap", "fixed", "-p", `{"data":{"a":"c"}}`},
		{"secret", "fixed", "-p", `{"stringData":{"a":"c"}}`},
		{"configmap", "fixed", "-p", `{"immutable":false}`},
	} {
		if out, err := c.Kubectl(append([]string{"patch"}, args...)...); err == nil || !strings.Contains(out, "field is immutable when `immutable` is set") {
			t.Errorf("%v: %s", args, out)
		}
	}
}
