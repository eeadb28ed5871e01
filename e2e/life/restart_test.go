package life

import (
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// restartRules: rules of app and init containers with both operators and both
// actions.
func restartRules(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: rules}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  initContainers:
    - name: init
      image: busybox:1.35
      restartPolicy: Never
      restartPolicyRules: [{action: Restart, exitCodes: {operator: NotIn, values: [0, 1]}}]
      command: [sh, -c, 'echo x >> /state/init; [ $(wc -l < /state/init) -ge 2 ] || exit 5']
      volumeMounts: [{name: state, mountPath: /state}]
  containers:
    - name: source
      image: busybox:1.35
      restartPolicy: Never
      restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]
      command: [sh, -c, '[ -e /state/seen ] && exec sleep 1000; sleep 2; touch /state/seen; exit 42']
      volumeMounts: [{name: state, mountPath: /state}]
    - name: victim
      image: busybox:1.35
      command: [sh, -c, 'trap "" TERM; while true; do sleep 0.1; done']
  volumes: [{name: state, emptyDir: {}}]
`)
	const counts = "{.status.phase} {.status.initContainerStatuses[0].restartCount} {.status.containerStatuses[*].restartCount}"
	becomes(t, c, 40*time.Second, "rules", counts, "Running 2 1 1")
	becomes(t, c, 20*time.Second, "rules", "{.status.containerStatuses[*].lastState.terminated.reason}", "RestartingAllContainers RestartingAllContainers")
	becomes(t, c, 5*time.Second, "rules", `{.status.conditions[?(@.type=="AllContainersRestarting")].status}`, "False")

	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: init-fails}
spec:
  restartPolicy: Always
  initContainers: [{name: init, image: 'busybox:1.35', restartPolicy: Never, command: [sh, -c, 'exit 1']}]
  containers: [{name: main, image: 'busybox:1.35', command: [sleep, '1000']}]
`)
	becomes(t, c, 20*time.Second, "init-fails", "{.status.phase} {.status.containerStatuses[0].state.waiting.reason}", "Failed PodInitializing")
}

// imageChange: the container is replaced in place, and nothing else of the pod.
func imageChange(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: image}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: 'busybox:1.35', command: [sleep, '1000']}
    - {name: other, image: 'busybox:1.35', command: [sleep, '1000']}
`)
	c.WaitReady(t, "image")
	const same = `{.metadata.uid} {.status.podIP} {.status.containerStatuses[?(@.name=="other")].containerID}`
	before := c.Get(t, "pod", "image", same)
	c.K(t, "set", "image", "pod/image", "main=docker.io/library/busybox:1.35")
	becomes(t, c, 30*time.Second, "image", `{.spec.containers[0].image} {.status.phase} {.status.containerStatuses[*].restartCount} `+
		`{.metadata.generation} {.status.observedGeneration} `+ready, "docker.io/library/busybox:1.35 Running 1 0 2 2 True")
	if after := c.Get(t, "pod", "image", same); after != before {
		t.Errorf("before %s, after %s", before, after)
	}
	hasEvent(t, c, "image", "Normal Killing Container main definition changed, will be restarted")
	out, err := c.Kubectl("patch", "pod", "image", "-p", `{"spec": {"containers": [{"name": "main", "workingDir": "/tmp"}]}}`)
	if err == nil || !strings.Contains(out, "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"+
		"`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"+
		"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)") {
		t.Errorf("%v: %s", err, out)
	}
	c.K(t, "patch", "pod", "image", "-p", `{"spec": {"activeDeadlineSeconds": 1}}`)
	becomes(t, c, 20*time.Second, "image", "{.status.phase} {.status.reason} {.status.message}",
		"Failed DeadlineExceeded Pod was active on the node longer than the specified deadline")
}
