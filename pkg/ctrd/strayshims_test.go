package ctrd

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
)

const (
	podOne = "fe6a0b03-06d2-45a0-ac00-889f5cdd21ca"
	podTwo = "1ab0ddf3-a51e-4504-8791-5ebb49e7fd66"
)

func TestStrayShims(t *testing.T) {
	ours := func(uid types.UID) bool { return uid == podOne || uid == podTwo }
	for name, tc := range map[string]struct {
		all  []shim
		want []int
	}{
		"one each":           {[]shim{{pid: 1, name: podOne + "-a-0", busy: true}, {pid: 2, name: podTwo + "-a-0"}}, nil},
		"two, one of use":    {[]shim{{pid: 1, name: podOne + "-a-0"}, {pid: 2, name: podOne + "-b-0", busy: true}}, []int{1}},
		"two of use":         {[]shim{{pid: 1, name: podOne + "-a-0", busy: true}, {pid: 2, name: podOne + "-b-0", busy: true}}, nil},
		"two of no use":      {[]shim{{pid: 1, name: podOne + "-a-0"}, {pid: 2, name: podOne + "-b-0"}}, nil},
		"somebody else's":    {[]shim{{pid: 1, name: "00000000" + podOne[8:] + "-a-0"}, {pid: 2, name: "00000000" + podOne[8:] + "-b-0", busy: true}}, nil},
		"names without UIDs": {[]shim{{pid: 1, name: "x"}, {pid: 2, name: "y", busy: true}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []int
			for _, s := range stray(tc.all, ours) {
				got = append(got, s.pid)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// pretend starts a process that looks like a shim of a containerd.
func pretend(t *testing.T, socket, id, script string) (ended <-chan struct{}) {
	t.Helper()
	cmd := exec.Command("/bin/sh")
	cmd.Args = []string{"containerd-shim-runc-v2", "-c", script, "shim", "-namespace", "carob", "-id", id, "-address", socket}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = in.Close()
		<-done
	})
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	return done
}

func TestGCEndsStrayShims(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "c.sock")
	r := &Runtime{opts: Options{Address: socket, Namespace: "carob"}, log: zap.NewNop(), strayTime: time.Millisecond}
	idle := pretend(t, socket, podOne+"-a-2", "echo; read x; exit")
	busy := pretend(t, socket, podOne+"-b-2", "echo; /bin/busybox cat; exit")
	lone := pretend(t, socket, podTwo+"-a-0", "echo; read x; exit")
	ours := func(types.UID) bool { return true }
	if err := r.GC(t.Context(), ours); err != nil {
		t.Fatal(err)
	}
	<-idle
	if all, err := r.allShims(); err != nil || len(all) != 2 {
		t.Errorf("left: %+v, %v", all, err)
	}
	if err := EndShims(t.Context(), socket); err != nil {
		t.Fatal(err)
	}
	<-busy
	<-lone
}
