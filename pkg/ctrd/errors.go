package ctrd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/status"

	"github.com/carob-project/carob/pkg/pod"
)

// ErrImageInUse is wrapped where an image cannot be removed because a container
// was made from it.
var ErrImageInUse = errors.New("image is in use")

// effectTimeout bounds one effect that is not cut short by its caller, and
// every clean-up.
const effectTimeout = 2 * time.Minute

// native turns what containerd answered into errors that callers can tell
// apart: containerd being away wraps pod.ErrUnavailable, a missing thing
// pod.ErrNotFound.
func native(err error) error {
	if err == nil || errors.Is(err, pod.ErrUnavailable) || errors.Is(err, pod.ErrNotFound) {
		return err
	}
	// Some of the client's calls translate by themselves, and doing it twice
	// would lose the kind of error.
	n := err
	if _, raw := status.FromError(err); raw {
		n = errgrpc.ToNative(err)
	}
	switch {
	case errdefs.IsUnavailable(n):
		return fmt.Errorf("containerd: %w: %w", pod.ErrUnavailable, n)
	case errdefs.IsNotFound(n):
		return fmt.Errorf("%w: %w", pod.ErrNotFound, n)
	}
	return n
}

// orGone is native, and nil where the thing is not there.
func orGone(err error) error {
	if err = native(err); errors.Is(err, pod.ErrNotFound) {
		return nil
	}
	return err
}

// outlive returns a context for an effect that must not be cut in its middle,
// or for a clean-up: it keeps ctx's values, not its end.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), effectTimeout)
}
