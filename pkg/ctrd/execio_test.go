package ctrd

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/pkg/pod"
)

// The shim opens its side of the input in its own time, also after all of the
// input is there.
func TestInputWaitsForItsReader(t *testing.T) {
	for name, input := range map[string]string{"words": "some words\n", "nothing": "", "more than a pipe holds": strings.Repeat("0123456789abcdef", 1<<14)} {
		t.Run(name, func(t *testing.T) {
			req := pod.ExecRequest{Streams: pod.Streams{Stdin: strings.NewReader(input)}}
			x, err := openExecIO(filepath.Join(t.TempDir(), "io"), req)
			if err != nil {
				t.Fatal(err)
			}
			defer x.close()
			ended := make(chan struct{})
			stop := x.begin(req, func() { close(ended) })
			defer stop()
			select {
			case <-ended:
				t.Error("the input ended before anybody read it")
			case <-time.After(50 * time.Millisecond):
			}
			path, _, _ := x.paths()
			got := make(chan []byte, 1)
			go func() {
				f, err := os.Open(path)
				if err != nil {
					t.Error(err)
				}
				defer f.Close()
				b, _ := io.ReadAll(f)
				got <- b
			}()
			select {
			case b := <-got:
				if !bytes.Equal(b, []byte(input)) {
					t.Errorf("read %d of %d bytes", len(b), len(input))
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the reader finds no end")
			}
			<-ended
		})
	}
}

// A command that fails to start never opens its input.
func TestInputWithoutAReaderIsLeft(t *testing.T) {
	in, client := io.Pipe()
	defer client.Close()
	req := pod.ExecRequest{Streams: pod.Streams{Stdin: in}}
	dir := filepath.Join(t.TempDir(), "io")
	x, err := openExecIO(dir, req)
	if err != nil {
		t.Fatal(err)
	}
	stop := x.begin(req, func() { t.Error("the input is said to have been read") })
	stop()
	if err := x.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.stdin.Write([]byte("x")); err == nil {
		t.Error("it still takes input")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the pipes are left: %v", err)
	}
}
