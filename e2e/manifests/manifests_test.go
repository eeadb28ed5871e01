// Package manifests applies every file in manifests/ as it stands (only its
// host ports moved to free ones) and checks what its header comment says.
package manifests

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// applied is a manifest that was applied.
type applied struct {
	*harness.Carob
	// ports tells which free port stands for a hostPort of the file.
	ports map[string]string
}

// checks say what each file promises; a file without a check fails the test.
var checks = map[string]func(*testing.T, applied){
	"hello.yaml":             hello,
	"init-containers.yaml":   initContainers,
	"shared-volume.yaml":     sharedVolume,
	"configuration.yaml":     configuration,
	"variables.yaml":         variables,
	"pod-security.yaml":      podSecurity,
	"host-network.yaml":      hostNetwork,
	"security.yaml":          security,
	"limits.yaml":            limits,
	"pod-resources.yaml":     podResources,
	"local-storage.yaml":     localStorage,
	"storage.yaml":           storage,
	"resize.yaml":            resize,
	"host-port.yaml":         hostPort,
	"run-to-completion.yaml": runToCompletion,
	"on-failure.yaml":        onFailure,
	"deadline.yaml":          deadline,
	"names.yaml":             names,
	"propagation.yaml":       propagation,
	"image-volume.yaml":      imageVolume,
	"env-file.yaml":          envFile,
	"graceful-stop.yaml":     gracefulStop,
	"localhost.yaml":         localhost,
	"user-namespace.yaml":    userNamespace,
	"probes.yaml":            probes,
	"hooks.yaml":             hooks,
	"sidecar.yaml":           sidecar,
	"gates.yaml":             gates,
	"shell.yaml":             shell,
	"priority.yaml":          priority,
	"affinity.yaml":          affinity,
	"identity.yaml":          identity,
	"restart-rules.yaml":     restartRules,
	"shared-processes.yaml":  sharedProcesses,
	"init.yaml":              withInit,
	"deployment.yaml":        deployment,
	"runtime-class.yaml":     runtimeClass,
	"statefulset.yaml":       statefulSet,
	"daemonset.yaml":         daemonSet,
	"limit-range.yaml":       limitRange,
	"resource-quota.yaml":    resourceQuota,
	"disruption-budget.yaml": disruptionBudget,
	"job.yaml":               indexedJob,
	"job-policy.yaml":        pickyJob,
	"cronjob.yaml":           cronJob,
}

// needNewRunc are the files that the runc of an old distribution cannot run.
var needNewRunc = map[string]bool{"user-namespace.yaml": true}

// folders are the examples that are more than a file, and the tests that keep
// them.
var folders = map[string]string{"folder": "e2e/folder"}

func TestFolders(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join(harness.Root(t), "manifests"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		tests, err := filepath.Glob(filepath.Join(harness.Root(t), folders[e.Name()], "*_test.go"))
		found := false
		for _, f := range tests {
			data, err := os.ReadFile(f)
			found = found || err == nil && strings.Contains(string(data), `"manifests", "`+e.Name()+`"`)
		}
		if err != nil || folders[e.Name()] == "" || !found {
			t.Errorf("nothing checks the folder %s", e.Name())
		}
	}
}

func TestManifests(t *testing.T) {
	c := harness.New(t)
	c.Args = append(c.Args, "--pod-pids-limit", podPIDs)
	c.Up(t)
	c.Import(t)
	dir := filepath.Join(harness.Root(t), "manifests")
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	for _, f := range files {
		name := filepath.Base(f)
		t.Run(name, func(t *testing.T) {
			check := checks[name]
			if check == nil {
				t.Fatal("nothing checks this file")
			}
			c := c
			if needNewRunc[name] {
				c = harness.New(t)
				c.WithRunc(t, harness.Runc(t))
				c.Up(t)
				c.Import(t)
			}
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(data), "# ") {
				t.Error("the file has no header comment")
			}
			text, ports := freePorts(t, strings.ReplaceAll(string(data), hooksDir, filepath.Join(c.Dir, filepath.Base(hooksDir))))
			c.Apply(t, text)
			check(t, applied{c, ports})
			if out, err := c.KubectlInput(text, "delete", "--timeout=60s", "-f", "-"); err != nil {
				t.Errorf("delete: %v\n%s", err, out)
			}
		})
	}
}

var hostPorts = regexp.MustCompile(`hostPort: (\d+)`)

// freePorts moves host ports to free ones: other tests may run beside this.
func freePorts(t *testing.T, text string) (string, map[string]string) {
	ports := map[string]string{}
	text = hostPorts.ReplaceAllStringFunc(text, func(m string) string {
		old := hostPorts.FindStringSubmatch(m)[1]
		ports[old] = harness.FreePort(t)
		return "hostPort: " + ports[old]
	})
	if strings.Contains(text, "hostNetwork: true") {
		// There the container listens on the very same port.
		for old, port := range ports {
			text = strings.ReplaceAll(text, old, port)
		}
	}
	return text, ports
}

func fetch(url string) (string, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	return string(body), err
}

func (a applied) fetches(t *testing.T, port, want string) {
	t.Helper()
	harness.Eventually(t, 20*time.Second, func() string {
		body, err := fetch("http://127.0.0.1:" + a.ports[port] + "/")
		if err != nil {
			return err.Error()
		}
		if !strings.Contains(body, want) {
			return "got " + body
		}
		return ""
	})
}

// logs waits until the log of a container holds all of want.
func (a applied) logs(t *testing.T, pod, container string, want ...string) string {
	t.Helper()
	var out string
	harness.Eventually(t, 30*time.Second, func() string {
		var err error
		if out, err = a.Kubectl("logs", pod, "-c", container); err != nil {
			return "got " + out
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				return "no " + w + " in " + out
			}
		}
		return ""
	})
	return out
}

func (a applied) becomes(t *testing.T, within time.Duration, pod, path, want string) {
	t.Helper()
	harness.Eventually(t, within, func() string {
		if got := a.Get(t, "pod", pod, path); got != want {
			return path + " is " + got + ", want " + want
		}
		return ""
	})
}

func hello(t *testing.T, a applied) {
	a.WaitReady(t, "hello")
	a.fetches(t, "8080", "Hello from hello, written at ")
}

func initContainers(t *testing.T, a applied) {
	a.WaitReady(t, "init-containers")
	a.logs(t, "init-containers", "main", "first second\n")
	a.becomes(t, 5*time.Second, "init-containers", "{.status.initContainerStatuses[*].state.terminated.reason}", "Completed Completed")
}

func sharedVolume(t *testing.T, a applied) {
	out := a.logs(t, "shared-volume", "reader", "read: data", "read-only")
	if strings.Contains(out, "leaks") {
		t.Error(out)
	}
}

func configuration(t *testing.T, a applied) {
	a.logs(t, "configuration", "main", "greeting: good morning\n", "password: 9 characters, mode 400\n", `labels: tier="demo"`, "memory: 32 MiB\n")
}

func variables(t *testing.T, a applied) {
	a.WaitReady(t, "variables")
	ip := a.Get(t, "pod", "variables", "{.status.podIP}")
	a.logs(t, "variables", "main", "colours: blue and green\n", "the code has 4 digits, the tier is demo\n",
		"limits: 250 thousandths of a CPU, 32 MiB\n", "url: http://"+ip+":8080/\n", "written: done\n")
}

func hostNetwork(t *testing.T, a applied) {
	a.WaitReady(t, "host-network")
	a.logs(t, "host-network", "main", "the address is the node's\n")
	a.fetches(t, "8085", "from the node's network")
}

func podSecurity(t *testing.T, a applied) {
	harness.Eventually(t, 30*time.Second, func() string {
		out, err := a.Kubectl("logs", "-n", "careful", "allowed")
		if err != nil || out != "allowed as user 1000\n" {
			return "got " + out
		}
		return ""
	})
	const plain = "apiVersion: v1\nkind: Pod\nmetadata: {name: plain, namespace: careful}\nspec: {containers: [{name: a, image: 'busybox:1.35'}]}\n"
	if out, err := a.KubectlInput(plain, "apply", "-f", "-"); err == nil || !strings.Contains(out, `violates PodSecurity "restricted:latest"`) {
		t.Errorf("a pod that is not careful: %s", out)
	}
}

func identity(t *testing.T, a applied) {
	a.WaitReady(t, "identity")
	a.logs(t, "identity", "main", `"sub":"system:serviceaccount:default:till"`, `"aud":["vault"]`, "the API is there\n")
}

func security(t *testing.T, a applied) {
	a.WaitReady(t, "security")
	a.logs(t, "security", "main", "user 1000, group 3000, groups 3000 2000 4000\n", "CapEff:\t0000000000000000\n",
		"CapBnd:\t0000000000000000\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n", "the root is read-only\n",
		"the file belongs to group 2000\n", "keepalive: 123\n")
}

func limits(t *testing.T, a applied) {
	const greedy = `{.status.containerStatuses[?(@.name=="greedy")].`
	harness.Eventually(t, 30*time.Second, func() string {
		got := a.Get(t, "pod", "limits", greedy+"state.terminated.reason}"+greedy+"lastState.terminated.reason}")
		if !strings.Contains(got, "OOMKilled") {
			return "reason is " + got
		}
		return ""
	})
	got := a.Get(t, "pod", "limits", greedy+"lastState.terminated.exitCode}"+greedy+"state.terminated.exitCode}")
	if !strings.HasPrefix(got, "137") {
		t.Errorf("exit code %s", got)
	}
	const modest = `{.status.containerStatuses[?(@.name=="modest")].`
	if got := a.Get(t, "pod", "limits", modest+"restartCount}"+modest+"ready}"); got != "0true" {
		t.Errorf("modest: %s", got)
	}
}

func hostPort(t *testing.T, a applied) {
	a.WaitReady(t, "host-port")
	a.fetches(t, "8081", "by host port")
}

func runToCompletion(t *testing.T, a applied) {
	a.becomes(t, 30*time.Second, "run-to-completion", "{.status.phase}", "Succeeded")
	if got := a.Get(t, "pod", "run-to-completion", "{.status.containerStatuses[0].state.terminated.message}"); got != "42 things done\n" {
		t.Errorf("message %q", got)
	}
	a.logs(t, "run-to-completion", "work", "working\n")
}

func onFailure(t *testing.T, a applied) {
	a.becomes(t, 60*time.Second, "on-failure", "{.status.phase}", "Succeeded")
	if got := a.Get(t, "pod", "on-failure", "{.status.containerStatuses[0].restartCount}"); got != "2" {
		t.Errorf("restarted %s times", got)
	}
	a.logs(t, "on-failure", "flaky", "try 3\n")
}

func deadline(t *testing.T, a applied) {
	a.becomes(t, 30*time.Second, "deadline", "{.status.phase}/{.status.reason}", "Failed/DeadlineExceeded")
}

func names(t *testing.T, a applied) {
	out := a.logs(t, "names", "main", "teller\n", "10.1.2.3\tbank\tbank.example\n", "nameserver 192.0.2.53\n", "search carob.example\n", "options ndots:2\n")
	a.logs(t, "full-name", "main", "till.desk.default.svc.cluster.local\n")
	if strings.Count(out, "nameserver") != 1 {
		t.Errorf("more than one name server:\n%s", out)
	}
}

func envFile(t *testing.T, a applied) {
	a.logs(t, "env-file", "main", "token: made by the writer\n")
}

func propagation(t *testing.T, a applied) {
	a.logs(t, "propagation", "reader", "mounted later\n")
	a.logs(t, "propagation", "guard", "read-only\n")
	const path = `{.status.containerStatuses[?(@.name=="guard")].volumeMounts[?(@.name=="shared")].recursiveReadOnly}`
	if got := a.Get(t, "pod", "propagation", path); got != "Enabled" {
		t.Errorf("recursively read-only: %s", got)
	}
}

func imageVolume(t *testing.T, a applied) {
	a.logs(t, "image-volume", "app", "/tools/bin/busybox\n", "/bin-only/busybox\n", "read-only\n")
}

func gracefulStop(t *testing.T, a applied) {
	const dir = "/tmp/carob-graceful-stop"
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	a.WaitReady(t, "graceful-stop")
	a.logs(t, "graceful-stop", "main", "ready\n")
	began := time.Now()
	a.K(t, "delete", "pod", "graceful-stop", "--timeout=60s")
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v: SIGTERM did not reach the container", took)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "closed")); err != nil || string(data) != "closed\n" {
		t.Errorf("closed: %q %v", data, err)
	}
	a.Apply(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: graceful-stop}\nspec: {terminationGracePeriodSeconds: 0, containers: [{name: main, image: 'busybox:1.35', command: [sleep, '1']}]}\n")
}

func localhost(t *testing.T, a applied) {
	a.logs(t, "localhost", "client", "pong\n", "pid 1\n")
}

func shell(t *testing.T, a applied) {
	a.WaitReady(t, "shell")
	if out := a.K(t, "exec", "shell", "-c", "shell", "--", "sh", "-c", "echo beside it"); out != "beside it\n" {
		t.Errorf("exec: %q", out)
	}
	if out, err := a.KubectlInput("1 2 3", "attach", "-i", "shell", "-c", "counter"); err != nil || !strings.Contains(out, "words: 3\n") {
		t.Errorf("attach: %q %v", out, err)
	}
}
