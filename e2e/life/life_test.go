// Package life shows probes, hooks, sidecars and gates with real containers.
package life

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

func TestLifeCycle(t *testing.T) {
	c := harness.Started(t)
	for name, f := range map[string]func(*testing.T, *harness.Carob){
		"liveness": liveness, "readiness": readiness, "startup": startup, "hooks": hooks, "failed hook": failedHook,
		"sidecars": sidecars, "job with a sidecar": job, "readiness gate": gate, "scheduling gate": scheduling,
		"stop signal": stopSignal, "OOM kill": oom, "restart rules": restartRules, "image change": imageChange,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, c)
		})
	}
}

func becomes(t *testing.T, c *harness.Carob, within time.Duration, pod, path, want string) {
	t.Helper()
	harness.Eventually(t, within, func() string {
		if got := c.Get(t, "pod", pod, path); got != want {
			return path + " is " + got + ", want " + want
		}
		return ""
	})
}

func hasEvent(t *testing.T, c *harness.Carob, pod string, want ...string) {
	t.Helper()
	harness.Eventually(t, 20*time.Second, func() string {
		out := c.K(t, "get", "events", "--field-selector", "involvedObject.name="+pod, "-o",
			`jsonpath={range .items[*]}{.type} {.reason} {.message}{"\n"}{end}`)
		for _, w := range want {
			if !strings.Contains(out, w) {
				return "no " + w + " in\n" + out
			}
		}
		return ""
	})
}

const ready = `{.status.conditions[?(@.type=="Ready")].status}`

func liveness(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: live}
spec:
  terminationGracePeriodSeconds: 30
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, 'touch /tmp/ok; sleep 3; rm /tmp/ok; trap "" TERM; while true; do sleep 1; done']
      livenessProbe: {exec: {command: [cat, /tmp/ok]}, periodSeconds: 1, failureThreshold: 2, terminationGracePeriodSeconds: 1}
    - name: slow
      image: busybox:1.35
      command: [sleep, '1000']
      livenessProbe: {exec: {command: [sh, -c, 'sleep 567 & sleep 567']}, periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 20}
`)
	becomes(t, c, 30*time.Second, "live", `{.status.containerStatuses[?(@.name=="main")].restartCount}`, "1")
	hasEvent(t, c, "live", "Warning Unhealthy Liveness probe failed: cat: can't open '/tmp/ok'",
		"Normal Killing Container main failed liveness probe, will be restarted",
		`Liveness probe failed: command timed out: "sh -c sleep 567 & sleep 567" timed out after 1s`)
	c.K(t, "delete", "pod", "live", "--grace-period=1", "--timeout=60s")
}

func readiness(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: ready}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, 'mkdir -p /www; httpd -p 8080 -h /www; sleep 2; touch /www/ok; sleep 5; rm /www/ok; sleep 5; touch /www/ok; sleep 1000']
      ports: [{name: web, containerPort: 8080}]
      readinessProbe: {httpGet: {path: /ok, port: web}, periodSeconds: 1, failureThreshold: 2}
`)
	becomes(t, c, 20*time.Second, "ready", `{.status.phase} {.status.containerStatuses[0].started} `+ready, "Running true False")
	becomes(t, c, 20*time.Second, "ready", ready, "True")
	becomes(t, c, 20*time.Second, "ready", ready, "False")
	if msg := c.Get(t, "pod", "ready", `{.status.conditions[?(@.type=="Ready")].message}`); msg != "containers with unready status: [main]" {
		t.Errorf("message %q", msg)
	}
	becomes(t, c, 20*time.Second, "ready", ready, "True")
	if n := c.Get(t, "pod", "ready", `{.status.containerStatuses[0].restartCount}`); n != "0" {
		t.Errorf("restarted %s times", n)
	}
	hasEvent(t, c, "ready", "Readiness probe failed: HTTP probe failed with statuscode: 404")
}

func startup(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: startup}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, 'sleep 4; exec nc -ll -p 7000 -e cat']
      startupProbe: {tcpSocket: {port: 7000}, periodSeconds: 1, failureThreshold: 30}
      livenessProbe: {tcpSocket: {port: 7000}, periodSeconds: 1, failureThreshold: 1}
`)
	const started = `{.status.containerStatuses[0].started}`
	becomes(t, c, 20*time.Second, "startup", `{.status.phase} `+started+" "+ready, "Running false False")
	becomes(t, c, 20*time.Second, "startup", started+" "+ready, "true True")
	if n := c.Get(t, "pod", "startup", `{.status.containerStatuses[0].restartCount}`); n != "0" {
		t.Errorf("restarted %s times", n)
	}
	hasEvent(t, c, "startup", "Startup probe failed: dial tcp ")
}

// shared is a directory of the host that a pod mounts at /out.
func shared(t *testing.T) (string, func(string) string) {
	dir := t.TempDir()
	return dir, func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err.Error()
		}
		return string(data)
	}
}

func hooks(t *testing.T, c *harness.Carob) {
	dir, read := shared(t)
	c.Apply(t, strings.ReplaceAll(`
apiVersion: v1
kind: Pod
metadata: {name: hooks}
spec:
  terminationGracePeriodSeconds: 20
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, 'trap "echo term >> /out/log; exit 0" TERM; while true; do sleep 0.1; done']
      lifecycle:
        postStart: {exec: {command: [sh, -c, 'sleep 2; echo post >> /out/log']}}
        preStop: {exec: {command: [sh, -c, 'echo pre >> /out/log; sleep 2; echo preend >> /out/log']}}
      volumeMounts: [{name: out, mountPath: /out}]
    - name: other
      image: busybox:1.35
      command: [sh, -c, 'trap "exit 0" TERM; while true; do sleep 0.1; done']
      lifecycle:
        preStop: {sleep: {seconds: 1}}
  volumes: [{name: out, hostPath: {path: DIR}}]
`, "DIR", dir))
	becomes(t, c, 20*time.Second, "hooks", `{.status.containerStatuses[?(@.name=="main")].state.waiting.reason}`, "ContainerCreating")
	c.WaitReady(t, "hooks")
	if log := read("log"); log != "post\n" {
		t.Errorf("Ready before the hook's end: %q", log)
	}
	began := time.Now()
	c.K(t, "delete", "pod", "hooks", "--timeout=60s")
	if took := time.Since(began); took < 2*time.Second || took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	if log := read("log"); log != "post\npre\npreend\nterm\n" {
		t.Errorf("order: %q", log)
	}
}

func failedHook(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: failed-hook}
spec:
  terminationGracePeriodSeconds: 3
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, 'trap "" TERM; while true; do sleep 0.1; done']
      lifecycle: {postStart: {exec: {command: [sh, -c, 'echo broken; exit 3']}}, preStop: {exec: {command: [/nowhere]}}}
`)
	harness.Eventually(t, 20*time.Second, func() string {
		got := c.Get(t, "pod", "failed-hook", `{.status.containerStatuses[0].state.waiting}`)
		if !strings.Contains(got, "PostStartHookError") || !strings.Contains(got, "broken") {
			return "got " + got
		}
		return ""
	})
	hasEvent(t, c, "failed-hook", "Warning FailedPostStartHook PostStartHook failed", "Normal Killing FailedPostStartHook",
		"Warning FailedPreStopHook PreStopHook failed")
	harness.Eventually(t, 20*time.Second, func() string {
		if n := c.Get(t, "pod", "failed-hook", `{.status.containerStatuses[0].restartCount}`); n == "0" {
			return "not restarted"
		}
		return ""
	})
}

const sidecarPod = `
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  restartPolicy: POLICY
  terminationGracePeriodSeconds: 30
  initContainers:
    - name: first
      image: busybox:1.35
      restartPolicy: Always
      command: [sh, -c, 'echo first >> /out/log; trap "echo -first >> /out/log; exit 0" TERM; sleep 2; touch /tmp/up; while true; do sleep 0.1; done']
      startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 30}
      volumeMounts: [{name: out, mountPath: /out}]
    - name: second
      image: busybox:1.35
      restartPolicy: Always
      command: [sh, -c, 'echo second >> /out/log; trap "echo -second >> /out/log; sleep 1; exit 0" TERM; while true; do sleep 0.1; done']
      lifecycle: {postStart: {exec: {command: [sh, -c, 'sleep 1; echo second is up >> /out/log']}}}
      volumeMounts: [{name: out, mountPath: /out}]
    - name: init
      image: busybox:1.35
      command: [sh, -c, 'echo init >> /out/log']
      volumeMounts: [{name: out, mountPath: /out}]
  containers:
    - name: app
      image: busybox:1.35
      command: [sh, -c, 'echo app >> /out/log; APP']
      volumeMounts: [{name: out, mountPath: /out}]
  volumes: [{name: out, hostPath: {path: DIR}}]
`

const sidecarLog = "first\nsecond\nsecond is up\ninit\napp\n"

func sidecars(t *testing.T, c *harness.Carob) {
	dir, read := shared(t)
	c.Apply(t, strings.NewReplacer("NAME", "sidecars", "POLICY", "Always", "DIR", dir,
		"APP", `trap "sleep 1; echo -app >> /out/log; exit 0" TERM; while true; do sleep 0.1; done`).Replace(sidecarPod))
	harness.Eventually(t, 20*time.Second, func() string {
		if out := c.K(t, "get", "pod", "sidecars", "--no-headers"); !strings.Contains(out, "0/3") || !strings.Contains(out, "Init:0/3") {
			return "got " + out
		}
		return ""
	})
	c.WaitReady(t, "sidecars")
	if out := c.K(t, "get", "pod", "sidecars", "--no-headers"); !strings.Contains(out, "3/3") || !strings.Contains(out, "Running") {
		t.Error(out)
	}
	if log := read("log"); log != sidecarLog {
		t.Errorf("order of starts: %q", log)
	}
	c.K(t, "delete", "pod", "sidecars", "--timeout=60s")
	if log := read("log"); log != sidecarLog+"-app\n-second\n-first\n" {
		t.Errorf("order of ends: %q", log)
	}
}

func job(t *testing.T, c *harness.Carob) {
	dir, read := shared(t)
	c.Apply(t, strings.NewReplacer("NAME", "job", "POLICY", "OnFailure", "DIR", dir, "APP", "sleep 1").Replace(sidecarPod))
	becomes(t, c, 60*time.Second, "job", "{.status.phase}", "Succeeded")
	if log := read("log"); log != sidecarLog+"-second\n-first\n" {
		t.Errorf("order: %q", log)
	}
	if out := c.K(t, "get", "pod", "job", "--no-headers"); !strings.Contains(out, "Completed") {
		t.Error(out)
	}
}

func gate(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: gate}
spec:
  terminationGracePeriodSeconds: 0
  readinessGates: [{conditionType: example.com/fed}]
  containers: [{name: main, image: 'busybox:1.35', command: [sleep, '1000']}]
`)
	becomes(t, c, 20*time.Second, "gate", `{.status.conditions[?(@.type=="ContainersReady")].status} {.status.conditions[?(@.type=="Ready")].reason}`, "True ReadinessGatesNotReady")
	becomes(t, c, 5*time.Second, "gate", `{.status.conditions[?(@.type=="Ready")].message}`, `corresponding condition of pod readiness gate "example.com/fed" does not exist.`)
	setGate(t, c, "True")
	becomes(t, c, 10*time.Second, "gate", ready, "True")
	setGate(t, c, "False")
	becomes(t, c, 10*time.Second, "gate", `{.status.conditions[?(@.type=="Ready")].message}`, `the status of pod readiness gate "example.com/fed" is not "True", but False`)
}

// setGate writes the condition, as a controller would.
func setGate(t *testing.T, c *harness.Carob, status string) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, func() string {
		var pod map[string]any
		if err := json.Unmarshal([]byte(c.K(t, "get", "pod", "gate", "-o", "json")), &pod); err != nil {
			return err.Error()
		}
		st := pod["status"].(map[string]any)
		var kept []any
		for _, o := range st["conditions"].([]any) {
			if o.(map[string]any)["type"] != "example.com/fed" {
				kept = append(kept, o)
			}
		}
		st["conditions"] = append(kept, map[string]any{"type": "example.com/fed", "status": status})
		data, err := json.Marshal(pod)
		if err != nil {
			return err.Error()
		}
		file := filepath.Join(t.TempDir(), "pod.json")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return err.Error()
		}
		if out, err := c.Kubectl("replace", "--raw", "/api/v1/namespaces/default/pods/gate/status", "-f", file); err != nil {
			return "got " + out
		}
		return ""
	})
}

func scheduling(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: gated}
spec:
  terminationGracePeriodSeconds: 0
  schedulingGates: [{name: example.com/quota}]
  containers: [{name: main, image: 'busybox:1.35', command: [sleep, '1000']}]
`)
	if out := c.K(t, "get", "pod", "gated", "--no-headers"); !strings.Contains(out, "SchedulingGated") {
		t.Error(out)
	}
	time.Sleep(time.Second)
	if node := c.Get(t, "pod", "gated", "{.spec.nodeName}"); node != "" {
		t.Errorf("bound to %s", node)
	}
	if out, err := c.Kubectl("patch", "pod", "gated", "--type=json", "-p",
		`[{"op":"add","path":"/spec/schedulingGates/-","value":{"name":"example.com/more"}}]`); err == nil || !strings.Contains(out, "only deletion is allowed") {
		t.Errorf("%v %s", err, out)
	}
	c.K(t, "patch", "pod", "gated", "--type=json", "-p", `[{"op":"remove","path":"/spec/schedulingGates"}]`)
	c.WaitReady(t, "gated")
}

func stopSignal(t *testing.T, c *harness.Carob) {
	dir, read := shared(t)
	c.Apply(t, strings.ReplaceAll(`
apiVersion: v1
kind: Pod
metadata: {name: stop-signal}
spec:
  terminationGracePeriodSeconds: 20
  os: {name: linux}
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, 'trap "echo usr1 > /out/log; exit 0" USR1; trap "" TERM; while true; do sleep 0.1; done']
      lifecycle: {stopSignal: SIGUSR1}
      volumeMounts: [{name: out, mountPath: /out}]
  volumes: [{name: out, hostPath: {path: DIR}}]
`, "DIR", dir))
	c.WaitReady(t, "stop-signal")
	if got := c.Get(t, "pod", "stop-signal", "{.status.containerStatuses[0].stopSignal}"); got != "SIGUSR1" {
		t.Errorf("stopSignal %q", got)
	}
	c.K(t, "delete", "pod", "stop-signal", "--timeout=60s")
	if log := read("log"); log != "usr1\n" {
		t.Errorf("log %q", log)
	}
}
