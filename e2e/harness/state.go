package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// State prints the machine's state; see hack/machine-state.sh.
func (c *Carob) State(t testing.TB) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(Root(t), "hack", "machine-state.sh")).Output()
	if err != nil {
		t.Fatalf("machine state: %v", err)
	}
	return string(out)
}

// SameState fails the test where the machine's state differs from an earlier
// one, in what this instance could have made. The kernel takes a moment to
// remove the interfaces of a namespace that is gone.
func (c *Carob) SameState(t testing.TB, before string) {
	t.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var differ []string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); <-tick.C {
		state := c.State(t)
		old, now := c.ofOthers(before), c.ofOthers(state)
		if c.besideOthers(before) || c.besideOthers(state) {
			// The last instance on the machine puts it back.
			old, now = forwarding.ReplaceAllString(old, ""), forwarding.ReplaceAllString(now, "")
		}
		// The order may differ: tables of others come and go.
		if differ = append(missing(old, now, "-"), missing(now, old, "+")...); len(differ) == 0 {
			return
		}
	}
	t.Errorf("the machine is not as it was:\n%s", strings.Join(differ, ""))
}

// missing returns the lines of a that b lacks, each behind a sign.
func missing(a, b, sign string) (lines []string) {
	has := map[string]int{}
	for l := range strings.Lines(b) {
		has[l]++
	}
	for l := range strings.Lines(a) {
		if has[l]--; has[l] < 0 {
			lines = append(lines, sign+l)
		}
	}
	return lines
}

// traces are names that tell an instance, a test or a benchmark: several may
// run on one machine at the same time, and podman beside them.
var traces = regexp.MustCompile(`carob-[0-9a-f]{8}|carob-sb[0-9]+|/carob-(e2e|bench)-[0-9]+|carob-test|/tmp/[A-Za-z]+[0-9]{6,}|process_api|libpod|NETAVARK|podman[0-9]|netns-[0-9a-f]{8}-`)

var (
	forwarding = regexp.MustCompile(`(?m)^net\.ipv4\.ip_forward = .*\n`)
	instance   = regexp.MustCompile(`carob-[0-9a-f]{8}\b`)
)

// own is the name of the instance's bridge and control group.
func (c *Carob) own() string {
	sum := sha256.Sum256([]byte(c.DataDir))
	return "carob-" + hex.EncodeToString(sum[:4])
}

// besideOthers says whether a state names another instance.
func (c *Carob) besideOthers(state string) bool {
	return slices.ContainsFunc(instance.FindAllString(state, -1), func(name string) bool { return name != c.own() })
}

// ofOthers leaves out the lines of a state that name another instance.
func (c *Carob) ofOthers(state string) string {
	own := []string{c.own(), c.Dir}
	var kept strings.Builder
	section := ""
	for line := range strings.Lines(state) {
		if name, ok := strings.CutPrefix(line, "== "); ok {
			section = strings.TrimSpace(name)
		}
		// The machine may run any other process; what this instance starts
		// names its directory or the system's containerd.
		other := section == "processes of containers" && !strings.HasPrefix(line, "== ") &&
			!strings.Contains(line, c.Dir) && !strings.Contains(line, " /run/containerd/containerd.sock")
		for _, m := range traces.FindAllString(line, -1) {
			other = other || !slices.Contains(own, m) && !strings.HasPrefix(c.Dir, m) && !strings.HasSuffix(c.Dir, m)
		}
		if !other {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
