package credentialprovider

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/internal/killtree"
	"github.com/carob-project/carob/pkg/pod"
)

// answer is a script that answers, and notes each question in calls.
func answer(dir, name, kind, rest string) string {
	return fmt.Sprintf("#!/bin/sh\ncat >>%s/calls\necho $EXTRA $1 >>%s/calls\ncat <<-'END'\n"+
		`{"kind": "CredentialProviderResponse", "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "cacheKeyType": %q, "auth": {"*.example": {"username": %q, "password": "p"}}%s}`+"\nEND\n", dir, dir, kind, name, rest)
}

type world struct {
	*Provider
	dir string
	now time.Time
}

// newWorld has the plugins named, a script each, which are for *.example.
func newWorld(t *testing.T, plugins map[string]string, order []string, more string, accounts Accounts) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), now: time.Unix(1e9, 0)}
	config := "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n"
	for _, name := range order {
		write(t, w.dir, name, strings.ReplaceAll(plugins[name], "DIR", w.dir), 0o700)
		config += fmt.Sprintf("- {name: %s, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: ['*.example'], defaultCacheDuration: 1h, args: [arg], env: [{name: EXTRA, value: extra}]%s}\n", name, more)
	}
	c, err := Load(write(t, w.dir, "config.yaml", config, 0o600), w.dir)
	if err != nil {
		t.Fatal(err)
	}
	w.Provider = New(c, Options{Accounts: accounts, Timeout: 20 * time.Second, Now: func() time.Time { return w.now }, Log: zap.NewNop()})
	return w
}

// calls returns what the plugins were told so far.
func (w *world) calls(t *testing.T) (n int, text string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, "calls"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Count(string(data), "CredentialProviderRequest"), string(data)
}

func owner(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name)},
		Spec:       corev1.PodSpec{ServiceAccountName: "sa"},
	}
}

func names(all []pod.Credential) string {
	var out []string
	for _, c := range all {
		out = append(out, c.Username)
	}
	return strings.Join(out, " ")
}

func TestPluginsAreAskedInTheirOrder(t *testing.T) {
	plugins := map[string]string{
		"zero": answer("DIR", "one", "Image", ""), "all": answer("DIR", "two", "Image", ""),
		"fails": "#!/bin/sh\necho no >&2\nexit 1\n", "odd": answer("DIR", "odd", "Pod", ""),
		"old":    strings.Replace(answer("DIR", "old", "Image", ""), "io/v1", "io/v1beta1", 1),
		"babble": "#!/bin/sh\necho what\n", "extra": strings.Replace(answer("DIR", "extra", "Image", ""), `"auth"`, `"other": 1, "auth"`, 1),
	}
	w := newWorld(t, plugins, []string{"zero", "fails", "odd", "old", "babble", "extra", "all"}, "", nil)
	got := w.Credentials(t.Context(), owner("a"), "r.example/tools")
	if names(got) != "one two" || !got[0].Node || got[0].Registry != "*.example" || got[0].Password != "p" {
		t.Errorf("got %v", got)
	}
	if got := w.Credentials(t.Context(), owner("a"), "r.other/tools"); len(got) != 0 {
		t.Errorf("for an image that is nobody's: %v", got)
	}
	if _, text := w.calls(t); !strings.Contains(text, `"image":"r.example/tools"`) || !strings.Contains(text, `"apiVersion":"credentialprovider.kubelet.k8s.io/v1"`) || !strings.Contains(text, "extra arg") {
		t.Errorf("the plugins were told %s", text)
	}
}

func TestAnswersAreKeptForAsLongAsTheySay(t *testing.T) {
	for name, x := range map[string]struct {
		kind, duration string
		want           string // questions after each of the steps below
	}{
		"an image":    {"Image", "", "1 1 2 3 4"},
		"a registry":  {"Registry", "", "1 1 1 2 3"},
		"everything":  {"Global", "", "1 1 1 1 2"},
		"its own":     {"Global", `, "cacheDuration": "90m"`, "1 1 1 1 1"},
		"not at all":  {"Global", `, "cacheDuration": "0s"`, "1 2 3 4 5"},
		"null is not": {"Global", `, "cacheDuration": null`, "1 1 1 1 2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, map[string]string{"a": answer("DIR", "a", x.kind, x.duration)}, []string{"a"}, "", nil)
			var got []string
			for _, step := range []struct {
				image string
				after time.Duration
			}{{"r.example/a", 0}, {"r.example/a", time.Minute}, {"r.example/b", 0}, {"s.example/a", 0}, {"r.example/a", time.Hour}} {
				w.now = w.now.Add(step.after)
				if got := w.Credentials(t.Context(), owner("a"), step.image); names(got) != "a" {
					t.Fatalf("%s: %v", step.image, got)
				}
				n, _ := w.calls(t)
				got = append(got, fmt.Sprint(n))
			}
			if strings.Join(got, " ") != x.want {
				t.Errorf("questions %v, want %s", got, x.want)
			}
		})
	}
}

func TestAPluginThatHangsIsKilledWithAllItStarted(t *testing.T) {
	w := newWorld(t, map[string]string{"a": "#!/bin/sh\nsleep 7131 &\nsetsid sleep 7131 &\necho $$ >DIR/begun\nsleep 7131\n"}, []string{"a"}, "", nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for ctx.Err() == nil && !(lives("sleep\x007131\x00", 3)) {
			time.Sleep(time.Millisecond)
		}
	}()
	if got := w.Credentials(ctx, owner("a"), "r.example/a"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	dies(t, "sleep\x007131\x00")
	// The time-out does the same.
	w.opts.Timeout = 200 * time.Millisecond
	if got := w.Credentials(t.Context(), owner("a"), "r.example/a"); len(got) != 0 {
		t.Errorf("after the time-out: %v", got)
	}
	dies(t, "sleep\x007131\x00")
}

func TestWhatAPluginLeavesBehindHoldsNothingUp(t *testing.T) {
	w := newWorld(t, map[string]string{"a": "#!/bin/sh\nsleep 7132 &\necho '{}'\n"}, []string{"a"}, "", nil)
	began := time.Now()
	if got := w.Credentials(t.Context(), owner("a"), "r.example/a"); len(got) != 0 || time.Since(began) > 15*time.Second {
		t.Errorf("%v after %v", got, time.Since(began))
	}
	dies(t, "sleep\x007132\x00")
}

// dies waits until no process with these arguments runs: they were sent a signal.
func dies(t *testing.T, args string) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); lives(args, 1); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("something lives on")
		}
	}
}

// lives says whether at least n processes with these arguments run.
func lives(args string, n int) bool {
	for _, p := range killtree.Processes() {
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID)); err == nil && string(line) == args {
			n--
		}
	}
	return n <= 0
}

func TestThoseWhoAskTheSameShareAnAnswer(t *testing.T) {
	slow := strings.Replace(answer("DIR", "a", "Image", `, "cacheDuration": "0s"`), "#!/bin/sh\n", "#!/bin/sh\necho >>DIR/begun\nwhile [ ! -e DIR/go ]; do sleep 0.01; done\n", 1)
	w := newWorld(t, map[string]string{"a": slow}, []string{"a"}, "", nil)
	one := w.plugins[0]
	gone, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	ask := func(ctx context.Context, want string) {
		wg.Go(func() {
			if got := names(w.Credentials(ctx, owner("a"), "r.example/a")); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	waiting := func(n int) {
		t.Helper()
		for until := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			have := one.flights.Waiting()
			if have == n {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("%d wait, want %d", have, n)
			}
		}
	}
	ask(gone, "")
	waiting(1)
	ask(t.Context(), "a")
	ask(t.Context(), "a")
	waiting(3)
	leave() // who asked first goes, the others still get theirs
	waiting(2)
	write(t, w.dir, "go", "", 0o600)
	wg.Wait()
	if n, _ := w.calls(t); n != 1 {
		t.Errorf("%d questions", n)
	}
}
