package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// oneTap is an attachment that shows a text; late says what Late does.
type oneTap struct {
	text string
	late bool
}

func (o *oneTap) Stdin(LogKey) (string, error)             { return "", nil }
func (o *oneTap) OpenStdin(LogKey) (io.WriteCloser, error) { return nil, pod.ErrNotFound }
func (o *oneTap) Tap(LogKey) (Tap, error)                  { return o, nil }
func (o *oneTap) Late() bool                               { return o.late }
func (o *oneTap) Close()                                   {}

func (o *oneTap) Next(ctx context.Context) ([]byte, bool, error) {
	data := []byte(o.text)
	if o.text = ""; len(data) > 0 {
		return data, false, ctx.Err()
	}
	return nil, false, errors.Join(io.EOF, ctx.Err())
}

// oneAttempt is a runtime with one attempt of the pod, beside another one.
type oneAttempt struct {
	pod.RuntimeView
	attempt pod.Attempt
}

func (o oneAttempt) ListPod(context.Context, types.UID) ([]pod.Attempt, error) {
	return []pod.Attempt{{ID: "other", Exit: &pod.Exit{}}, o.attempt}, nil
}

func TestWhoAttachesTooLateIsToldSo(t *testing.T) {
	now := time.Unix(1e9, 0)
	ended := func(after time.Duration) *pod.Exit { return &pod.Exit{FinishedAt: now.Add(after)} }
	for name, x := range map[string]struct {
		tap  oneTap
		exit *pod.Exit
		late bool
	}{
		"it had ended":             {oneTap{late: true}, ended(-time.Millisecond), true},
		"it was ending":            {oneTap{late: true}, ended(attachGrace / 2), true},
		"it went on for a while":   {oneTap{late: true}, ended(attachGrace), false},
		"it goes on without carob": {oneTap{late: true}, nil, false},
		"something was shown":      {oneTap{text: "hi\n", late: true}, ended(0), false},
		"it never said anything":   {oneTap{}, ended(0), false},
	} {
		t.Run(name, func(t *testing.T) {
			at := pod.Attempt{ID: "id", Container: "c", Exit: x.exit}
			i := inside{a: &Agent{o: Options{Attacher: &x.tap, View: oneAttempt{attempt: at}}, clock: func() time.Time { return now }, log: zap.NewNop()}}
			var out bytes.Buffer
			want := x.tap.text
			if err := i.Attach(t.Context(), at, pod.Streams{Stdout: &out}); errors.Is(err, pod.ErrNotFound) != x.late || !x.late && err != nil {
				t.Errorf("got %v", err)
			}
			if out.String() != want {
				t.Errorf("shown %q", out.String())
			}
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			if err := i.Attach(gone, at, pod.Streams{Stdout: &out}); err != nil {
				t.Errorf("a client that has left: %v", err)
			}
		})
	}
}
