package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/internal/osthread"
	"github.com/carob-project/carob/pkg/pod"
)

func TestFreeIDs(t *testing.T) {
	const n = idsPerPod
	all := []idSpan{{n, 1 << 32}}
	for name, tc := range map[string]struct {
		allowed, taken []idSpan
		want           uint32
	}{
		"the first":             {all, nil, n},
		"behind a pod":          {all, []idSpan{{n, 2 * n}}, 2 * n},
		"between pods":          {all, []idSpan{{n, 2 * n}, {3 * n, 4 * n}}, 2 * n},
		"behind one user":       {all, []idSpan{{n + 5, n + 6}}, 2 * n},
		"behind much, askew":    {all, []idSpan{{100000, 165536}}, 3 * n},
		"of an odd range":       {[]idSpan{{100000, 100000 + n + 7}}, nil, 100000},
		"of the second range":   {[]idSpan{{n, 2*n - 1}, {10 * n, 12 * n}}, []idSpan{{10 * n, 11 * n}}, 11 * n},
		"nothing: all taken":    {[]idSpan{{n, 2 * n}}, []idSpan{{n, 2 * n}}, 0},
		"nothing: too few":      {[]idSpan{{n, n + 7}}, nil, 0},
		"nothing: none allowed": {nil, nil, 0},
	} {
		got, err := freeIDs(tc.allowed, tc.taken)
		if tc.want == 0 {
			if !errors.Is(err, errNoIDs) {
				t.Errorf("%s: %+v %v", name, got, err)
			}
			continue
		}
		if err != nil || got != (pod.IDRange{First: tc.want, Size: n}) {
			t.Errorf("%s: %+v %v, want %d", name, got, err, tc.want)
		}
	}
}

func TestHostIDs(t *testing.T) {
	for name, tc := range map[string]struct {
		files          map[string]string
		allowed, taken []idSpan
		fails          string
	}{
		"no files": {nil, []idSpan{{65536, 1<<32 - 65536}}, nil, ""},
		"others": {map[string]string{
			"subuid": "# mine\nme:100000:65536\nbroken\nme:x:1\n", "subgid": "me:200000:10", "passwd": "root:x:0:0::/:\nbig:x:70000:0::/:\n", "group": "g:x:80000:\n",
		}, []idSpan{{65536, 1<<32 - 65536}}, []idSpan{{100000, 165536}, {200000, 200010}, {0, 1}, {70000, 70001}, {80000, 80001}}, ""},
		"own": {map[string]string{"subuid": "carob:131072:131072\nme:1:1", "subgid": "carob:131072:131072"},
			[]idSpan{{131072, 262144}}, []idSpan{{1, 2}}, ""},
		"own users only":    {map[string]string{"subuid": "carob:131072:131072"}, nil, nil, "must give carob the same IDs"},
		"own with the root": {map[string]string{"subuid": "carob:0:131072", "subgid": "carob:0:131072"}, nil, nil, "IDs that pods must not have"},
	} {
		dir := t.TempDir()
		for f, text := range tc.files {
			must(t, os.WriteFile(filepath.Join(dir, f), []byte(text), 0o600))
		}
		allowed, taken, err := hostIDs(dir)
		if tc.fails != "" {
			if err == nil || !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || !slices.Equal(allowed, tc.allowed) || !slices.Equal(taken, tc.taken) {
			t.Errorf("%s: %v %v %v", name, allowed, taken, err)
		}
	}
}

func ownUsers(uid string) *corev1.Pod {
	p := newPod(uid)
	p.Spec.HostUsers = ptr.To(false)
	p.Spec.Containers[0].Ports = nil
	p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{
		{Name: "kernel.shm_rmid_forced", Value: "1"}, {Name: "net.ipv4.tcp_keepalive_time", Value: "123"},
	}}
	return p
}

// inside runs a command as root of the pod's user namespace, in all that it
// owns.
func inside(t *testing.T, s *pod.Sandbox, args ...string) string {
	t.Helper()
	n := s.Namespaces
	cmd := exec.Command("nsenter", append([]string{"--user=" + n.User, "--net=" + n.Net, "--ipc=" + n.IPC, "--uts=" + n.UTS, "--setuid=0", "--setgid=0"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestUserNamespace(t *testing.T) {
	r := newRig(t)
	p := ownUsers("u1")
	s := mustCreate(t, r, p)
	if !s.Users.Mapped() || s.Users.First < idsPerPod || s.Stale {
		t.Fatalf("%+v", s)
	}
	if got, want := strings.Fields(inside(t, s, "cat", "/proc/self/uid_map")), []string{"0", fmt.Sprint(s.Users.First), "65536"}; !slices.Equal(got, want) {
		t.Errorf("IDs %v, want %v", got, want)
	}
	// Its root has the say over what the namespace owns, and over nothing else.
	for what, want := range map[string]string{
		"hostname": "name-u1",
		"hostname other && hostname && hostname name-u1":           "other",
		"cat /proc/sys/kernel/shm_rmid_forced":                     "1",
		"cat /proc/sys/net/ipv4/tcp_keepalive_time":                "123",
		"ip link set lo down && ip link set lo up && echo its own": "its own",
		"echo 1 > /proc/sys/vm/drop_caches || echo refused":        "refused",
	} {
		got := inside(t, s, "sh", "-c", "exec 2>/dev/null; "+what)
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	mustAttach(t, r, p)
	if got := inside(t, s, "ip", "-br", "-4", "addr", "show", "eth0"); !strings.Contains(got, "UP") {
		t.Errorf("eth0: %s", got)
	}
	checkShm(t, s.ShmPath)
	var st unix.Stat_t
	must(t, unix.Stat(s.ShmPath, &st))
	if st.Uid != s.Users.First || st.Gid != s.Users.First {
		t.Errorf("shm belongs to %d:%d", st.Uid, st.Gid)
	}
	r.restart(t, "boot-1")
	got, err := r.Get("u1")
	if err != nil || got.Stale || got.Users != s.Users {
		t.Errorf("after a restart: %+v %v", got, err)
	}
	must(t, unix.Unmount(s.Namespaces.User, 0))
	if got, err := r.Get("u1"); err != nil || !got.Stale {
		t.Errorf("without its user namespace: %+v %v", got, err)
	}
	if again := mustCreate(t, r, p); again.Stale || again.Users != s.Users {
		t.Errorf("made anew: %+v", again)
	}
}

// Pods that begin at the same time, and those of another run of carob, have IDs
// of their own; what a removed one had is free again.
func TestIDsBelongToOnePod(t *testing.T) {
	r := newRig(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := r.Create(t.Context(), ownUsers(fmt.Sprintf("u%d", i))); err != nil {
				t.Error(err)
			}
		})
		// Threads end beside them, as with any other pod.
		wg.Go(func() {
			for range 50 {
				_ = osthread.Throwaway(func() error { return nil })
			}
		})
	}
	wg.Wait()
	// As a run that was killed between the record and the namespaces left it.
	replace(t, r.dir("u0"), `"whole"`, `"making"`)
	r.restart(t, "boot-1")
	mustCreate(t, r, ownUsers("u8"))
	seen := map[uint32]string{}
	for i := range 9 {
		uid := fmt.Sprintf("u%d", i)
		s, err := r.Get(ownUsers(uid).UID)
		must(t, err)
		if s == nil {
			t.Fatalf("%s has no sandbox", uid)
		}
		if other, taken := seen[s.Users.First]; taken || !s.Users.Mapped() {
			t.Errorf("%s and %s have the same IDs: %+v", uid, other, s.Users)
		}
		seen[s.Users.First] = uid
	}
	s, err := r.Get("u3")
	must(t, err)
	must(t, r.Remove(t.Context(), "u3"))
	if again := mustCreate(t, r, ownUsers("u9")); again.Users != s.Users {
		t.Errorf("%+v was freed, %+v is taken", s.Users, again.Users)
	}
}

func TestNoIDsLeft(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	for _, f := range []string{"subuid", "subgid"} {
		must(t, os.WriteFile(filepath.Join(dir, f), []byte("carob:65536:65536\n"), 0o600))
	}
	r.opts.IDFiles = dir
	s := mustCreate(t, r, ownUsers("u1"))
	if diff := cmp.Diff(pod.IDRange{First: 65536, Size: 65536}, s.Users); diff != "" {
		t.Error(diff)
	}
	if _, err := r.Create(t.Context(), ownUsers("u2")); !errors.Is(err, errNoIDs) {
		t.Errorf("a second pod: %v", err)
	}
	if s, err := r.Get("u2"); s != nil || err != nil {
		t.Errorf("left of it: %+v %v", s, err)
	}
	mustCreate(t, r, newPod("u3"))
}
