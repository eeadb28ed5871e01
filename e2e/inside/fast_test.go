package inside

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/carob-project/carob/e2e/harness"
)

// runsFast: what a container says at its end is always shown, whether kubectl
// attaches to it before, meanwhile or afterwards.
func (k client) runsFast(t *testing.T) {
	const times, atOnce = 12, 2
	run := func(name, script string) []string {
		return []string{
			"run", name, "--rm", "--restart=Never", "--image=" + harness.Image,
			"--overrides", `{"spec":{"terminationGracePeriodSeconds":0}}`, "-i", "--", "sh", "-c", script,
		}
	}
	scripts := []string{"echo hi", "sleep 0.1; echo hi", "sleep 0.3; echo hi", "sleep 0.6; echo hi"}
	turns := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range times {
		script := scripts[i%len(scripts)]
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			out, errs, code := k.run(t, "", run(fmt.Sprintf("fast-%d", i), script)...)
			if code != 0 || !strings.Contains(out, "hi\n") {
				t.Errorf("%s: %d %q %q", script, code, out, errs)
			}
			args := run(fmt.Sprintf("fast-tty-%d", i), script)
			x := onTerminal(t, 24, 80, k.command(context.Background(), append(args[:len(args)-4:len(args)-4], "-it", "--", "sh", "-c", script)...))
			if code := x.ends(); code != 0 || !strings.Contains(x.text(), "hi\r") {
				t.Errorf("on a terminal, %s: %d %q", script, code, x.text())
			}
		})
	}
	wg.Wait()
}
