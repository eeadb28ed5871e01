package etcd

import (
	"context"
	"strconv"
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
	compactLeast   = 300
	compactLongest = time.Hour
)

// CompactedKey holds the revision up to which old ones were dropped last, where
// Kubernetes' API server writes it: its caches watch it, and answer for no
// older revision than the store does.
const CompactedKey = "compact_rev_key"

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
			if err := s.drop(ctx, revision); err != nil {
				log.Warn("old revisions cannot be dropped", zap.Error(err))
			} else {
				h.compacted, h.at = revision, now
			}
		}
		h.before = member.KV().Rev()
	}
}

// drop drops everything older than the revision, and says so.
func (s *Server) drop(ctx context.Context, revision int64) error {
	said := &pb.PutRequest{Key: []byte(CompactedKey), Value: strconv.AppendInt(nil, revision, 10)}
	if _, err := s.member.Server.Put(ctx, said); err != nil {
		return err
	}
	_, err := s.member.Server.Compact(ctx, &pb.CompactionRequest{Revision: revision})
	return err
}
