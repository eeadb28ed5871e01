package ctrd

import (
	"context"
	"fmt"

	"github.com/carob-project/carob/pkg/pod"
)

// LayerUse returns the bytes and inodes that an attempt has written into its
// file system. An attempt that is gone is pod.ErrNotFound.
func (r *Runtime) LayerUse(ctx context.Context, id string) (bytes, inodes int64, err error) {
	ctx = r.scoped(ctx)
	if _, ok := r.state.get(id); !ok {
		return 0, 0, fmt.Errorf("container %s: %w", id, pod.ErrNotFound)
	}
	sn, _, err := r.snapshots(ctx)
	if err != nil {
		return 0, 0, err
	}
	u, err := sn.Usage(ctx, id)
	if err != nil {
		return 0, 0, fmt.Errorf("measuring what container %s has written: %w", id, native(err))
	}
	return u.Size, u.Inodes, nil
}
