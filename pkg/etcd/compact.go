package etcd

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/zap"
)

// Old revisions are kept for as long as a slow watcher may need them, as the
// API server of Kubernetes does. Beyond that they cost little while they are
// few, and dropping them costs a dozen pages written to the disk: on a node that
// rests they are dropped once an hour.
const (
	compactEvery   = 5 * time.Minute
	compactLeast   = 1000
	compactLongest = time.Hour
)

// history is what is known of the store's revisions at the end of an interval.
type history struct {
	compacted int64     // everything older has been dropped
	at        time.Time // when
	before    int64     // the newest one an interval ago
}

// due returns the revision up to which the store is to be compacted now.
func (h history) due(now time.Time) (revision int64, is bool) {
	old := h.before - h.compacted
	return h.before, old >= compactLeast || old > 0 && now.Sub(h.at) >= compactLongest
}

// compact drops old revisions, where some are due at a tick, until ctx ends.
func (s *Server) compact(ctx context.Context, ticks <-chan time.Time, log *zap.Logger) {
	member := s.member.Server
	h := history{compacted: member.KV().FirstRev(), at: time.Now(), before: member.KV().FirstRev()}
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return
		case now = <-ticks:
		}
		if revision, is := h.due(now); is {
			if _, err := member.Compact(ctx, &pb.CompactionRequest{Revision: revision}); err != nil {
				log.Warn("old revisions cannot be dropped", zap.Error(err))
			} else {
				h.compacted, h.at = revision, now
			}
		}
		h.before = member.KV().Rev()
	}
}
