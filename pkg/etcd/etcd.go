// Package etcd gives carob its store: an etcd member that runs inside the
// process and listens on nothing but a unix socket, or the endpoints of an etcd
// that somebody else runs. It must not know what is stored.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

// Errors that Start wraps.
var (
	// ErrInUse: another process has this directory open.
	ErrInUse = errors.New("another process uses this etcd directory")
	// ErrPathTooLong: no socket path is short enough for the kernel.
	ErrPathTooLong = errors.New("path of the etcd socket is too long")
	// ErrStore: the member could not read, write or repair what is on disk.
	ErrStore = errors.New("etcd cannot use its directory")
)

// DefaultQuota is how large the database may grow before writes are refused.
const DefaultQuota int64 = 1 << 30

const (
	startTimeout = 30 * time.Second
	// tick and election bound how long the only member waits before it makes
	// itself the leader: at most twice the election timeout.
	tickMs     = 100
	electionMs = 500
	// One member has no follower to catch up; entries kept in memory would
	// only cost memory.
	snapshotCount  = 1000
	catchUpEntries = 100
	batchInterval  = 250 * time.Millisecond
	walSegment     = 16 << 20
	maxTxnOps      = 1024
)

// Options say where the store is.
type Options struct {
	// Dir holds the member's files; it is made with mode 0700. Not needed
	// with Endpoints.
	Dir string
	// RunDir takes the socket where Dir's path is too long for one.
	RunDir string
	// Endpoints are those of an etcd that runs elsewhere; nothing is started
	// then, and whoever runs it drops its old revisions.
	Endpoints []string
	// Quota in bytes; 0 means DefaultQuota.
	Quota int64
	// Log may be nil.
	Log *zap.Logger
}

// Server is a running member, or the endpoints that were given.
type Server struct {
	endpoints []string
	member    *embed.Etcd
	watch     *fatalWatch
	compacts  sync.WaitGroup
	cancel    context.CancelFunc // ends the compaction
	stopped   sync.Once
	done      chan struct{}
}

// Start returns when the store can be written. An error wraps ErrInUse,
// ErrPathTooLong or ErrStore where one of them is the cause.
func Start(ctx context.Context, o Options) (*Server, error) {
	if len(o.Endpoints) > 0 {
		return &Server{endpoints: o.Endpoints, watch: newFatalWatch(), done: make(chan struct{})}, nil
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if err := prepareDir(o.Dir); err != nil {
		return nil, err
	}
	if err := checkUnused(o.Dir); err != nil {
		return nil, err
	}
	if err := omitAccessTimes(o.Dir); err != nil && !keepsNoFlags(err) {
		o.Log.Warn("reads of the database's directories are written down", zap.Error(err))
	}
	socket, err := socketPath(o.Dir, o.RunDir)
	if err != nil {
		return nil, err
	}
	s := &Server{endpoints: []string{"unix://" + socket}, watch: newFatalWatch(), done: make(chan struct{})}
	smallSegments()
	if s.member, err = s.watch.start(memberConfig(o, socket, s.watch.logger(o.Log))); err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrStore, o.Dir, err)
	}
	if err := s.await(ctx); err != nil {
		s.Stop()
		return nil, fmt.Errorf("%w %s: %w", ErrStore, o.Dir, err)
	}
	s.keepCompact(ctx, o.Log)
	if err := reserve(o.Dir); err != nil {
		o.Log.Warn("no disk space is kept for the database", zap.Error(err))
	}
	return s, nil
}

// Endpoints are what a client dials.
func (s *Server) Endpoints() []string { return s.endpoints }

// Failed yields the error that ended the member by itself, such as a full
// disk. It yields nothing after Stop.
func (s *Server) Failed() <-chan error { return s.watch.failed }

// Stop ends the member and returns when its files are closed. It may be called
// more than once; it does nothing to an etcd that runs elsewhere.
func (s *Server) Stop() {
	s.stopped.Do(func() {
		if s.cancel != nil {
			s.cancel()
			s.compacts.Wait()
		}
		if s.member != nil {
			s.watch.stop(s.member)
		}
		close(s.done)
	})
	<-s.done
}

// keepCompact drops old revisions until Stop.
func (s *Server) keepCompact(ctx context.Context, log *zap.Logger) {
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	t := time.NewTicker(compactEvery)
	s.compacts.Go(func() {
		defer t.Stop()
		s.compact(ctx, t.C, log)
	})
}

func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case <-s.member.Server.ReadyNotify():
		return nil
	case <-s.member.Server.StopNotify():
		return errors.New("the member stopped while it started")
	case err := <-s.member.Err():
		return err
	case err := <-s.watch.failed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the member did not become ready: %w", ctx.Err())
	}
}

func memberConfig(o Options, socket string, log *zap.Logger) *embed.Config {
	c := embed.NewConfig()
	c.Name = "carob"
	c.Dir = o.Dir
	client := url.URL{Scheme: "unix", Path: socket}
	c.ListenClientUrls = []url.URL{client}
	c.AdvertiseClientUrls = []url.URL{client}
	// A single member talks to nobody: it gets no peer listener, and an
	// address that cannot be dialled.
	peer := url.URL{Scheme: "unix", Host: "none"}
	c.ListenPeerUrls = nil
	c.AdvertisePeerUrls = []url.URL{peer}
	c.InitialCluster = c.Name + "=" + peer.String()
	c.TickMs, c.ElectionMs = tickMs, electionMs
	c.SnapshotCount, c.SnapshotCatchUpEntries = snapshotCount, catchUpEntries
	c.MaxWalFiles = 2
	c.BackendBatchInterval = batchInterval
	c.QuotaBackendBytes = o.Quota
	if c.QuotaBackendBytes <= 0 {
		c.QuotaBackendBytes = DefaultQuota
	}
	c.MaxTxnOps = maxTxnOps
	c.EnableGRPCGateway = false
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	return c
}

// smallSegments lowers the size in which the write-ahead log reserves space:
// two segments are always reserved, 128 MB with etcd's own default.
var smallSegments = sync.OnceFunc(func() { wal.SegmentSizeBytes = walSegment })

func prepareDir(dir string) error {
	if dir == "" {
		return errors.New("etcd: no directory given")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	// The directory's mode is what keeps other users from the socket.
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs its x bit
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	return nil
}

// maxSocketPath is sun_path's size less the final zero byte.
const maxSocketPath = 107

// socketPath picks the socket's place: beside the data, or in the run
// directory where that path would be too long.
func socketPath(dir, runDir string) (string, error) {
	beside := filepath.Join(dir, "etcd.sock")
	if len(beside) <= maxSocketPath {
		return filepath.Abs(beside)
	}
	if runDir == "" {
		return "", fmt.Errorf("%w: %s has more than %d bytes", ErrPathTooLong, beside, maxSocketPath)
	}
	private := filepath.Join(runDir, "etcd")
	short := filepath.Join(private, "s")
	if len(short) > maxSocketPath {
		return "", fmt.Errorf("%w: %s has more than %d bytes; choose a shorter data or run directory", ErrPathTooLong, short, maxSocketPath)
	}
	if err := prepareDir(private); err != nil {
		return "", err
	}
	return short, nil
}
