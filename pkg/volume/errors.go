package volume

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/carob-project/carob/pkg/pod"
)

// configError is a fault in what the pod asks for. It is a pod.ErrConfig, and
// its text is as Kubernetes words it, without that sentinel's.
type configError struct{ text string }

func (e *configError) Error() string        { return e.text }
func (e *configError) Is(target error) bool { return target == pod.ErrConfig }

func invalid(format string, args ...any) error {
	return &configError{text: fmt.Sprintf(format, args...)}
}

// setupError names the volume that could not be made.
type setupError struct {
	volume string
	err    error
}

func (e *setupError) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.volume, e.err)
}
func (e *setupError) Unwrap() error { return e.err }

// setupErrors are the faults of several volumes, on one line for an event.
type setupErrors []error

func (e setupErrors) Error() string {
	var s []string
	for _, err := range e {
		s = append(s, err.Error())
	}
	return strings.Join(s, "; ")
}
func (e setupErrors) Unwrap() []error { return e }

func joined(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return setupErrors(errs)
}

// written says more clearly what a full disk means.
func written(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("the disk is full: %w", err)
	case errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("the disk quota is used up: %w", err)
	}
	return err
}
