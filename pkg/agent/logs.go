package agent

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// finishTime is how long the agent waits for the last words of an attempt
// that has ended. Only a process that outlived its container's init can use
// it up.
const finishTime = 2 * time.Second

// copiers knows which attempts' logs are being copied by this agent.
type copiers struct {
	logs Logs
	log  *zap.Logger

	mu   sync.Mutex
	open map[LogKey]struct{}
}

func newCopiers(logs Logs, log *zap.Logger) *copiers {
	return &copiers{logs: logs, log: log, open: map[LogKey]struct{}{}}
}

func keyOf(a pod.Attempt) LogKey {
	return LogKey{Pod: a.Pod, Container: a.Container, Number: a.Number}
}

// adopt begins to copy for every live attempt that nobody copies for: those
// that an earlier agent left running.
func (c *copiers) adopt(ctx context.Context, attempts []pod.Attempt) {
	for _, a := range attempts {
		k := keyOf(a)
		if a.State == pod.AttemptExited || a.Container == pod.Holder || c.has(k) {
			continue
		}
		if _, _, err := c.begin(ctx, k); err != nil {
			c.log.Error("the log of a running container cannot be taken up",
				zap.String("uid", string(k.Pod.UID)), zap.String("container", k.Container), zap.Error(err))
		}
	}
}

func (c *copiers) has(k LogKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.open[k]
	return ok
}

func (c *copiers) begin(ctx context.Context, k LogKey) (stdout, stderr string, err error) {
	stdout, stderr, err = c.logs.Open(ctx, k)
	if err == nil {
		c.mu.Lock()
		c.open[k] = struct{}{}
		c.mu.Unlock()
	}
	return stdout, stderr, err
}

// finish ends the copying for an attempt that has ended. It takes finishTime
// at most, also when ctx has ended.
func (c *copiers) finish(ctx context.Context, k LogKey) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	if err := c.logs.Finish(ctx, k); err != nil {
		c.log.Warn("the end of a container's log may be missing",
			zap.String("uid", string(k.Pod.UID)), zap.String("container", k.Container), zap.Error(err))
	}
	c.mu.Lock()
	delete(c.open, k)
	c.mu.Unlock()
}

// drop ends all copying for a pod of which nothing is left.
func (c *copiers) drop(ctx context.Context, uid types.UID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	if err := c.logs.Drop(ctx, uid); err != nil {
		c.log.Warn("the logs of a removed pod are not closed", zap.String("uid", string(uid)), zap.Error(err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.open {
		if k.Pod.UID == uid {
			delete(c.open, k)
		}
	}
}
