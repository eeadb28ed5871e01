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
)

// Store implements agent.Logs and reads logs back for the node's log endpoint.
type Store struct {
	copiers *podlog.Copiers
	podsDir string
	pipeDir string

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

// New returns a Store that writes to podsDir/<uid>/logs and makes pipes in
// sandboxesDir/<uid>/io.
func New(copiers *podlog.Copiers, podsDir, sandboxesDir string) *Store {
	return &Store{copiers: copiers, podsDir: podsDir, pipeDir: sandboxesDir, open: map[key]*entry{}}
}

func (s *Store) path(k key) string {
	return podlog.Path(filepath.Join(s.podsDir, string(k.uid)), k.container, k.number)
}

func (s *Store) pipes(k key) string {
	return filepath.Join(s.pipeDir, string(k.uid), ioDir, k.container, strconv.Itoa(k.number))
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
	// The copying outlives the call; Finish or Close end it.
	c, err := s.copiers.Start(context.WithoutCancel(ctx), podlog.Attempt{
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
	}
	return errors.Join(err, os.RemoveAll(s.pipes(k)))
}

// Remove implements agent.Logs.
func (s *Store) Remove(ctx context.Context, k agent.LogKey) error {
	return errors.Join(s.Finish(ctx, k), podlog.Remove(s.path(keyOf(k))))
}

// Close stops copying; what is in the pipes stays there for the next Store.
func (s *Store) Close() {
	s.copiers.Close()
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
	if _, statErr := os.Stat(filepath.Join(s.podsDir, string(ref.UID))); statErr == nil {
		return nil
	}
	return fmt.Errorf("log of container %s, attempt %d: %w", container, number, pod.ErrNotFound)
}

// Tail returns the end of an attempt's log, for a termination message.
func (s *Store) Tail(ctx context.Context, uid types.UID, container string, number, lines int, limit int64) (string, error) {
	return podlog.Tail(ctx, s.path(key{uid: uid, container: container, number: number}), lines, limit)
}
