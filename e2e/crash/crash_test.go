// Package crash ends carob, and the containerd that it started, with SIGKILL
// at random moments while pods are made, restarted, changed and deleted, and
// checks that nothing is lost, doubled or left behind.
package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

const (
	rounds = 16
	// mostPods keeps the load of a run about the same for every seed.
	mostPods = 12
)

// sleeper is a pod whose containers run until they are told to end; it shows
// the ConfigMap and has a host port.
const sleeper = `
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
    - {name: first, image: 'busybox:1.35', command: ['true']}
  containers:
    - name: a
      image: 'busybox:1.35'
      command: [sleep, '100000']
      ports: [{containerPort: 80, hostPort: %s}]
      volumeMounts: [{name: settings, mountPath: /settings}, {name: memory, mountPath: /memory, subPath: x}]
    - {name: b, image: 'busybox:1.35', command: [sleep, '100000']}
  volumes:
    - {name: settings, configMap: {name: settings}}
    - {name: memory, emptyDir: {medium: Memory}}
`

// crasher is a pod whose container fails again and again.
const crasher = `
apiVersion: v1
kind: Pod
metadata: {name: crasher}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: a, image: 'busybox:1.35', command: [sh, -c, 'sleep 0.2; exit 3']}]
`

// run is one test's instance and what it was asked for and said yes to.
type run struct {
	*harness.Carob
	rnd *rand.Rand

	mu sync.Mutex
	// wanted are the pods whose creation was confirmed and whose deletion was
	// never asked for; doomed those whose deletion was confirmed.
	wanted, doomed map[string]bool
	made           int
	version        int // of the ConfigMap, as last asked for
}

func seed(t *testing.T) uint64 {
	t.Helper()
	if s := os.Getenv("CAROB_CRASH_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("CAROB_CRASH_SEED: %v", err)
		}
		return n
	}
	return uint64(time.Now().UnixNano())
}

func TestNothingIsLostOrLeftByKills(t *testing.T) {
	n := seed(t)
	t.Logf("seed: CAROB_CRASH_SEED=%d", n)
	r := &run{
		Carob: harness.Started(t), rnd: rand.New(rand.NewPCG(n, 0)), //nolint:gosec // moments, not secrets
		wanted: map[string]bool{}, doomed: map[string]bool{},
	}
	r.setVersion(0)
	// One pod makes what stays for all: the bridge, the cgroup root.
	r.create("warm", harness.FreePort(t))
	r.WaitReady(t, "warm")
	r.K(t, "delete", "pod", "warm", "--timeout=60s")
	delete(r.wanted, "warm")
	state, own := r.State(t), traces(t, r.Carob)

	r.Apply(t, crasher)
	containers := map[string]string{}
	for i := range rounds {
		r.round(t, i)
		r.noteContainers(t, containers)
	}
	r.settle(t)
	r.noteContainers(t, containers)
	r.check(t)

	r.K(t, "delete", "pod", "--all", "--timeout=90s")
	harness.Eventually(t, 20*time.Second, func() string { return difference(own, traces(t, r.Carob)) })
	r.SameState(t, state)
}

// round lets pods come and go, kills what runs them, and brings carob up
// again. Some rounds kill containerd first, some kill carob once more while it
// starts.
func (r *run) round(t *testing.T, i int) {
	t.Helper()
	after := r.upTo(1500 * time.Millisecond)
	containerd := r.rnd.IntN(3) == 0
	again := r.rnd.IntN(3) == 0
	during := r.upTo(700 * time.Millisecond)
	t.Logf("round %d: kill after %v; containerd first: %v; again during the start: %v", i, after, containerd, again)

	stop := make(chan struct{})
	var busy sync.WaitGroup
	ports := []string{harness.FreePort(t), harness.FreePort(t), harness.FreePort(t), harness.FreePort(t)}
	deeds := r.deeds(ports)
	busy.Go(func() {
		for _, do := range deeds {
			select {
			case <-stop:
				return
			default:
				do()
			}
		}
	})
	if containerd {
		time.Sleep(after / 2)
		killContainerd(t, r.Carob)
	}
	time.Sleep(after)
	r.Kill(t)
	close(stop)
	busy.Wait()
	if again {
		var starting sync.WaitGroup
		starting.Go(func() { _ = r.TryUp() })
		time.Sleep(during)
		r.Kill(t)
		starting.Wait()
		r.Kill(t) // where it had not begun when it was to be killed
	}
	r.Up(t)
}

func (r *run) upTo(d time.Duration) time.Duration {
	return time.Duration(r.rnd.Int64N(int64(d))).Round(time.Millisecond)
}

// deeds picks what to do in a round. The choice is made beforehand: how far a
// round gets depends on the machine, the choice only on the seed.
func (r *run) deeds(ports []string) []func() {
	var out []func()
	for _, port := range ports {
		switch x := r.rnd.IntN(10); {
		case x < 5:
			r.made++
			name := fmt.Sprintf("pod-%d", r.made)
			out = append(out, func() { r.create(name, port) })
		case x < 8:
			pick := r.rnd.Uint64()
			out = append(out, func() { r.deleteOne(pick) })
		default:
			out = append(out, func() { r.setVersion(r.version + 1) })
		}
	}
	return out
}

func (r *run) create(name, port string) {
	r.mu.Lock()
	full := len(r.wanted) >= mostPods
	r.mu.Unlock()
	if full {
		return
	}
	if _, err := r.KubectlInput(fmt.Sprintf(sleeper, name, port), "apply", "-f", "-"); err == nil {
		r.mu.Lock()
		r.wanted[name] = true
		r.mu.Unlock()
	}
}

func (r *run) deleteOne(pick uint64) {
	r.mu.Lock()
	var names []string
	for name := range r.wanted {
		names = append(names, name)
	}
	slices.Sort(names)
	r.mu.Unlock()
	if len(names) == 0 {
		return
	}
	name := names[pick%uint64(len(names))]
	_, err := r.Kubectl("delete", "pod", name, "--wait=false")
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.wanted, name)
	if err == nil {
		r.doomed[name] = true
	}
}

func (r *run) setVersion(v int) {
	r.version = v
	_, _ = r.KubectlInput(fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {version: '%d'}\n", v), "apply", "-f", "-")
}

// podLine is what the test reads of a pod.
type podLine struct {
	name, uid, phase, ready, deleted string
	containers                       []string // name, ID, restarts, start
}

func (r *run) pods(t *testing.T) []podLine {
	t.Helper()
	out := r.K(t, "get", "pods", "-o", `jsonpath={range .items[*]}{.metadata.name}|{.metadata.uid}|{.status.phase}|`+
		`{.status.conditions[?(@.type=="Ready")].status}|{.metadata.deletionTimestamp}|`+
		`{range .status.containerStatuses[*]}{.name},{.containerID},{.restartCount},{.state.running.startedAt} {end}{"\n"}{end}`)
	var all []podLine
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 6 {
			t.Fatalf("pod line %q", line)
		}
		all = append(all, podLine{f[0], f[1], f[2], f[3], f[4], strings.Fields(f[5])})
	}
	return all
}

// noteContainers remembers the containers that were seen running, and fails
// where another one is in the place of one of them. One that was about to start
// when it was killed counts as restarted: that cannot be told from one that ran.
func (r *run) noteContainers(t *testing.T, seen map[string]string) {
	t.Helper()
	for _, p := range r.pods(t) {
		for _, c := range p.containers {
			f := strings.Split(c, ",")
			if p.name == "crasher" || p.deleted != "" || f[3] == "" {
				continue
			}
			key, now := p.name+" "+p.uid+" "+f[0], f[1]+", restarts: "+f[2]
			if old, known := seen[key]; known && old != now {
				t.Errorf("%s: %s became %s", key, old, now)
			} else if !known && f[2] != "0" {
				t.Logf("%s did not live to be seen before it was restarted", key)
			}
			seen[key] = now
		}
	}
}

// settle waits until all pods are as they are wanted.
func (r *run) settle(t *testing.T) {
	t.Helper()
	defer func() {
		if t.Failed() {
			out, _ := r.Kubectl("get", "pods", "-o", "yaml")
			t.Logf("tasks:\n%s\n%s", strings.Join(ctr(t, r.Carob, "tasks", "list"), "\n"), out)
		}
	}()
	harness.Eventually(t, 60*time.Second, func() string {
		var odd []string
		for _, p := range r.pods(t) {
			if p.deleted != "" || p.name != "crasher" && p.ready != "True" {
				odd = append(odd, fmt.Sprint(p))
			}
		}
		return strings.Join(odd, "\n")
	})
}

// check compares what there is with what was asked for.
func (r *run) check(t *testing.T) {
	t.Helper()
	r.sameShown(t)
	uids := map[string]bool{}
	names := map[string]bool{}
	for _, p := range r.pods(t) {
		uids[p.uid], names[p.name] = true, true
		if r.doomed[p.name] {
			t.Errorf("%s is still there", p.name)
		}
		if p.name == "crasher" {
			continue
		}
		for _, c := range []string{"a", "b"} {
			if ids := live(t, p.uid, c); len(ids) != 1 {
				t.Errorf("live attempts of %s/%s: %v", p.name, c, ids)
			}
		}
	}
	for name := range r.wanted {
		if !names[name] {
			t.Errorf("%s is lost", name)
		}
	}
	t.Logf("%d pods, %d deleted", len(names), len(r.doomed))
	onlyOf(t, r.Carob, uids)
}

// sameShown waits until the last change of the ConfigMap that was stored is
// seen in every pod. A change of a pod's annotations makes the node look now.
func (r *run) sameShown(t *testing.T) {
	t.Helper()
	want := r.Get(t, "configmap", "settings", "{.data.version}")
	r.K(t, "annotate", "pods", "--all", "looked=at")
	harness.Eventually(t, 20*time.Second, func() string {
		for _, p := range r.pods(t) {
			data, err := os.ReadFile(r.DataDir + "/pods/" + p.uid + "/volumes/settings/version")
			if p.name != "crasher" && (err != nil || string(data) != want) {
				return fmt.Sprintf("%s has version %q, want %q (%v)", p.name, data, want, err)
			}
		}
		return ""
	})
}
