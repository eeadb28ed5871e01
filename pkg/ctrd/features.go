package ctrd

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go/features"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/pkg/pod"
)

// featuresTime bounds the question to an OCI runtime what it can do.
const featuresTime = 10 * time.Second

// told is what an OCI runtime said of itself, as long as it is the same file.
type told struct {
	size     int64
	modified time.Time
	features features.Features
}

// featureCache holds what the OCI runtimes said, by their paths.
type featureCache struct {
	mu   sync.Mutex
	told map[string]told
}

// Features tells what the runtime of that name can do on this machine. One that
// does not say so can nothing.
func (r *Runtime) Features(ctx context.Context, handler string) pod.Features {
	h, err := r.handler(handler)
	if err != nil || h.Type != DefaultRuntimeHandler {
		return pod.Features{}
	}
	path, err := r.path.find(ctx, r.opts.Address, ociBinary(h))
	if err != nil {
		r.log.Debug("the OCI runtime is not found", zap.String("handler", handler), zap.Error(err))
		return pod.Features{}
	}
	f, err := r.features.ask(ctx, path)
	if err != nil {
		r.log.Debug("the OCI runtime does not tell its features", zap.String("handler", handler), zap.Error(err))
		return pod.Features{}
	}
	maps := mapsIDs(f)
	if maps {
		maps = r.kernel.mapsIDs(r.log)
	}
	return pod.Features{
		RecursiveReadOnly: slices.Contains(f.MountOptions, "rro") && canSetAttributes(),
		UserNamespaces:    maps,
	}
}

// ociBinary is the program that the shim of runc calls.
func ociBinary(h Handler) string {
	if h.Binary == "" {
		return "runc"
	}
	return h.Binary
}

// ask runs the runtime's own command for it, once for each version of the file.
func (c *featureCache) ask(ctx context.Context, path string) (features.Features, error) {
	info, err := os.Stat(path)
	if err != nil {
		return features.Features{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.told[path]; ok && t.size == info.Size() && t.modified.Equal(info.ModTime()) {
		return t.features, nil
	}
	ctx, cancel := context.WithTimeout(ctx, featuresTime)
	defer cancel()
	t := told{size: info.Size(), modified: info.ModTime()}
	out, err := exec.CommandContext(ctx, path, "features").Output() // #nosec G204 -- the runtime of the configuration
	if ctx.Err() != nil {
		return features.Features{}, ctx.Err()
	}
	if err == nil {
		err = json.Unmarshal(out, &t.features)
	}
	if c.told == nil {
		c.told = map[string]told{}
	}
	// One that does not know the question will not know it the next time.
	c.told[path] = t
	return t.features, err
}

// canSetAttributes says whether the kernel can change mounts recursively
// (Linux 5.12).
func canSetAttributes() bool {
	return !errors.Is(unix.MountSetattr(-1, "", 0, &unix.MountAttr{}), unix.ENOSYS)
}
