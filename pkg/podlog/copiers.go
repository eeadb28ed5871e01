package podlog

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Bounds that hold where Options has none; those of the kubelet.
const (
	DefaultMaxSize  = 10 << 20
	DefaultMaxFiles = 5
)

// Options are the settings of all logs of an agent.
type Options struct {
	// MaxSize is the size in bytes at which a file is rotated. Zero means
	// DefaultMaxSize. A file may grow beyond it by one batch (528 KiB).
	MaxSize int64
	// MaxFiles is how many files an attempt has at most, the current one
	// included; with MaxSize it bounds the disk space of one attempt's log.
	// Zero means DefaultMaxFiles.
	MaxFiles int
	// Clock gives the timestamps. Nil means time.Now.
	Clock func() time.Time
	// Log may be nil.
	Log *zap.Logger
}

// Copiers starts Copiers and holds what they share. It is a
// prometheus.Collector.
type Copiers struct {
	opts    Options
	pool    scratchPool
	n       counters
	metrics []metric

	mu sync.Mutex
	// marks says by device whether access times can be relied on.
	marks map[uint64]bool
	live  map[*Copier]struct{}
}

// New returns Copiers. It needs a few file descriptors, which Close gives back.
func New(o Options) (*Copiers, error) {
	if o.MaxSize <= 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.MaxFiles <= 0 {
		o.MaxFiles = DefaultMaxFiles
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	pool, err := newScratchPool()
	if err != nil {
		return nil, err
	}
	return &Copiers{
		opts: o, pool: pool, metrics: metrics(),
		marks: map[uint64]bool{}, live: map[*Copier]struct{}{},
	}, nil
}

// Close stops every Copier as Copier.Close does. Nothing may be started later.
func (c *Copiers) Close() {
	c.mu.Lock()
	var all []*Copier
	for k := range c.live {
		all = append(all, k)
	}
	c.mu.Unlock()
	for _, k := range all {
		k.Close()
	}
	c.pool.close()
}

// Attempt says what to copy where.
type Attempt struct {
	// Stdout and Stderr are the paths of the FIFOs; see MakeFIFOs.
	Stdout, Stderr string
	// Path is the log file; see Path. Its directory is made.
	Path string
	// Fields name the attempt in log lines (pod, uid, container).
	Fields []zap.Field
}

// Start begins to copy, before or after the writer of the FIFOs does. Where an
// earlier Copier of the attempt was killed, it goes on where that one was. There
// must be only one Copier of an attempt at a time, on the whole machine. When ctx
// ends it stops as with Copier.Close.
func (c *Copiers) Start(ctx context.Context, a Attempt) (*Copier, error) {
	k := &Copier{
		all: c, log: c.opts.Log.With(a.Fields...), done: make(chan struct{}),
		sink: sink{path: a.Path, maxSize: c.opts.MaxSize, maxFiles: c.opts.MaxFiles},
	}
	for _, s := range []struct {
		name Stream
		path string
	}{{Stdout, a.Stdout}, {Stderr, a.Stderr}} {
		p, err := openFIFO(s.path)
		if err != nil {
			_ = k.release() // nothing was written
			return nil, fmt.Errorf("opening a log pipe: %w", err)
		}
		k.streams = append(k.streams, &source{copier: k, name: s.name, pipe: p, marks: c.canMark(s.path)})
	}
	if err := k.resume(); err != nil {
		_ = k.release() // nothing was written
		return nil, err
	}
	c.mu.Lock()
	c.live[k] = struct{}{}
	c.mu.Unlock()
	k.run(ctx)
	return k, nil
}

func (c *Copiers) forget(k *Copier) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.live, k)
}

// canMark says whether FIFOs beside path can be marked. If in doubt, not.
func (c *Copiers) canMark(path string) bool {
	dir := filepath.Dir(path)
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok, known := c.marks[st.Dev]; known {
		return ok
	}
	ok, err := probeMarks(dir)
	if err != nil {
		c.opts.Log.Debug("access times of pipes could not be tried", zap.String("dir", dir), zap.Error(err))
		return false
	}
	if !ok {
		c.opts.Log.Warn("the run directory keeps no access times: if carob is killed, the last lines of a container's log may come twice",
			zap.String("dir", dir))
	}
	c.marks[st.Dev] = ok
	return ok
}
