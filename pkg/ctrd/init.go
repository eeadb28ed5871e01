package ctrd

import (
	"fmt"
	"os"
	"slices"

	"github.com/carob-project/carob/pkg/pod"
)

const (
	// initInside is where carob-init is in a container that has it as reaper, and
	// holderInside where it is in a holder.
	initInside   = "/sbin/carob-init"
	holderInside = "/carob-init"
	// holdFlag makes it hold its namespace and run nothing.
	holdFlag = "--hold-the-processes-of-the-pod"
	// holderUser is nobody's.
	holderUser = 65535
)

// checkInit finds out whether carob-init is there, for who needs it.
func (r *Runtime) checkInit(req pod.CreateRequest) error {
	if !req.Holder && !req.Reaper {
		return nil
	}
	if r.opts.InitPath == "" {
		return fmt.Errorf("%w: no carob-init is known", pod.ErrConfig)
	}
	if _, err := os.Stat(r.opts.InitPath); err != nil {
		return fmt.Errorf("%w: carob-init has to be beside the carob program: %w", pod.ErrConfig, err)
	}
	return nil
}

// withInit mounts carob-init for who needs it, and makes it a holder's command.
func withInit(r pod.CreateRequest, path string) pod.CreateRequest {
	inside := initInside
	switch {
	case r.Holder:
		inside = holderInside
		r.Command = []string{holderInside, holdFlag}
	case !r.Reaper:
		return r
	}
	r.Mounts = append(slices.Clone(r.Mounts), pod.Mount{HostPath: path, ContainerPath: inside, ReadOnly: true, Mapped: true})
	return r
}
