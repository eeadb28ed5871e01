// Package logstore keeps the logs of a node's attempts: it joins package
// podlog, which knows pipes and files, with the agent, which knows attempts.
// It must not know when an attempt begins or ends; the agent tells it.
package logstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/agent"
	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/podlog"
	"github.com/carob-project/carob/pkg/tracing"
)

// Keeper has pipes open for as long as they may hold something, also while no
// carob runs; *pipekeeper.Client is one.
type Keeper interface {
	Keep(ctx context.Context, path string) error
	Drop(ctx context.Context, path string) error
}

// Options say what a Store works with.
type Options struct {
	Copiers *podlog.Copiers
	// Keeper may be nil: then what a container writes last is lost where it
	// ends while no carob runs.
	Keeper Keeper
	// PodsDir holds the logs, in <uid>/logs.
	PodsDir string
	// SandboxesDir holds the pipes, in <uid>/io.
	SandboxesDir string
	// Log may be nil.
	Log *zap.Logger
}

// Store implements agent.Logs and reads logs back for the node's log endpoint.
type Store struct {
	o Options

	mu   sync.Mutex
	open map[key]*entry
}

// key is a LogKey without the names, which a pipe does not tell.
type key struct {
	uid       types.UID
	container string
	number    int
}

func keyOf(k agent.LogKey) key { return key{uid: k.Pod.UID, container: k.Container, number: k.Number} }

// entry is an attempt whose pipes are open. done is closed when its log is
// complete.
type entry struct {
	copier         *podlog.Copier
	stdout, stderr string
	done           chan struct{}
}

var _ agent.Logs = (*Store)(nil)

// complete stands for the done channel of an attempt that has ended.
var complete = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// New returns a Store.
func New(o Options) *Store {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Store{o: o, open: map[key]*entry{}}
}

func (s *Store) path(k key) string {
	return podlog.Path(filepath.Join(s.o.PodsDir, string(k.uid)), k.container, k.number)
}

func (s *Store) pipes(k key) string {
	return filepath.Join(s.o.SandboxesDir, string(k.uid), ioDir, k.container, strconv.Itoa(k.number))
}

// Open implements agent.Logs.
func (s *Store) Open(ctx context.Context, k agent.LogKey) (stdout, stderr string, err error) {
	return s.begin(ctx, keyOf(k), zap.String("pod", k.Pod.Namespace+"/"+k.Pod.Name))
}

func (s *Store) begin(ctx context.Context, k key, fields ...zap.Field) (stdout, stderr string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.open[k]; e != nil {
		return e.stdout, e.stderr, nil
	}
	stdout, stderr, err = podlog.MakeFIFOs(s.pipes(k))
	if err != nil {
		return "", "", fmt.Errorf("log pipes: %w", err)
	}
	kctx, kept := tracing.Begin(ctx, "keep pipes", tracing.Minor())
	s.keep(kctx, k, stdout, stderr)
	kept(nil)
	// The copying outlives the call; Finish or Close end it.
	c, err := s.o.Copiers.Start(context.WithoutCancel(ctx), podlog.Attempt{
		Stdout: stdout, Stderr: stderr, Path: s.path(k),
		Fields: append(fields, zap.String("uid", string(k.uid)), zap.String("container", k.container)),
	})
	if err != nil {
		return "", "", fmt.Errorf("log: %w", err)
	}
	s.open[k] = &entry{copier: c, stdout: stdout, stderr: stderr, done: make(chan struct{})}
	return stdout, stderr, nil
}

// Finish implements agent.Logs.
func (s *Store) Finish(ctx context.Context, k agent.LogKey) error { return s.finish(ctx, keyOf(k)) }

func (s *Store) finish(ctx context.Context, k key) error {
	s.mu.Lock()
	e := s.open[k]
	delete(s.open, k)
	s.mu.Unlock()
	var err error
	if e != nil {
		if err = e.copier.Finish(ctx); err != nil {
			e.copier.Close()
		}
		close(e.done)
		s.drop(ctx, e.stdout, e.stderr)
	}
	return errors.Join(err, os.RemoveAll(s.pipes(k)))
}

// keep hands the pipes to the keeper. Without one the container still runs and
// its log is still written, so that this is no reason to fail.
func (s *Store) keep(ctx context.Context, k key, pipes ...string) {
	if s.o.Keeper == nil {
		return
	}
	for _, p := range pipes {
		if err := s.o.Keeper.Keep(ctx, p); err != nil {
			s.o.Log.Warn("log pipe is not kept open beyond the end of carob",
				zap.String("uid", string(k.uid)), zap.String("container", k.container), zap.Error(err))
		}
	}
}

func (s *Store) drop(ctx context.Context, pipes ...string) {
	if s.o.Keeper == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	for _, p := range pipes {
		if err := s.o.Keeper.Drop(ctx, p); err != nil {
			s.o.Log.Warn("log pipe is still kept open", zap.String("pipe", p), zap.Error(err))
		}
	}
}

// Remove implements agent.Logs.
func (s *Store) Remove(ctx context.Context, k agent.LogKey) error {
	return errors.Join(s.Finish(ctx, k), podlog.Remove(s.path(keyOf(k))))
}

// Close stops copying; what is in the pipes stays there for the next Store.
func (s *Store) Close() {
	s.o.Copiers.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, e := range s.open {
		close(e.done)
		delete(s.open, k)
	}
}

// ReadLog implements the log endpoint's reader. A log that nobody wrote to is
// empty as long as its pod has a directory.
func (s *Store) ReadLog(ctx context.Context, ref pod.Ref, container string, number int, o *corev1.PodLogOptions, w io.Writer) error {
	ro, err := podlog.FromPodLogOptions(o, time.Now())
	if err != nil {
		return err
	}
	k := key{uid: ref.UID, container: container, number: number}
	s.mu.Lock()
	e := s.open[k]
	s.mu.Unlock()
	done := complete
	if e != nil {
		done = e.done
	} else {
		// What has ended is not waited for, nor is its file.
		ro.Follow = false
	}
	err = podlog.Read(ctx, s.path(k), ro, done, w)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, statErr := os.Stat(filepath.Join(s.o.PodsDir, string(ref.UID))); statErr == nil {
		return nil
	}
	return fmt.Errorf("log of container %s, attempt %d: %w", container, number, pod.ErrNotFound)
}

// Tail returns the end of an attempt's log, for a termination message.
func (s *Store) Tail(ctx context.Context, uid types.UID, container string, number, lines int, limit int64) (string, error) {
	return podlog.Tail(ctx, s.path(key{uid: uid, container: container, number: number}), lines, limit)
}
