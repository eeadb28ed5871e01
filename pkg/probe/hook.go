package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// HookError is returned where a hook was carried out and failed, or ran out of
// time.
type HookError struct {
	Message string
	Err     error
}

func (e *HookError) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *HookError) Unwrap() error { return e.Err }

// Hook carries a lifecycle hook out, within the timeout (zero: there is none).
// An error that is no HookError says nothing about the hook.
func (r Runner) Hook(ctx context.Context, h *corev1.LifecycleHandler, t Target, timeout time.Duration) error {
	switch {
	case h.Exec != nil:
		return r.execHook(ctx, h.Exec.Command, t, timeout)
	case h.HTTPGet != nil:
		return r.httpHook(ctx, h.HTTPGet, t, timeout)
	case h.Sleep != nil:
		return sleepHook(ctx, time.Duration(h.Sleep.Seconds)*time.Second, timeout)
	}
	return nil
}

var errExit = errors.New("the command failed")

func (r Runner) execHook(ctx context.Context, cmd []string, t Target, timeout time.Duration) error {
	if r.Exec == nil {
		return errNoExec
	}
	line := strings.Join(cmd, " ")
	out, code, err := r.Exec.Exec(ctx, t.AttemptID, cmd, timeout)
	switch {
	case err != nil && !errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("hook of container %s: %w", t.Container.Name, err)
	case err == nil && code == 0:
		return nil
	case err == nil:
		err = fmt.Errorf("%w: %q exited with %d", errExit, line, code)
	}
	return &HookError{Err: err, Message: fmt.Sprintf("Exec lifecycle hook ([%s]) for Container %q failed - error: %v, message: %q",
		line, t.Container.Name, err, cut(string(out), messageLimit))}
}

// httpHook succeeds with any answer.
func (r Runner) httpHook(ctx context.Context, a *corev1.HTTPGetAction, t Target, timeout time.Duration) error {
	req, err := r.request(ctx, a, t)
	if err == nil {
		resp, rerr := client(a, timeout).Do(req)
		if rerr == nil {
			return resp.Body.Close()
		}
		err = rerr
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &HookError{Err: err, Message: fmt.Sprintf("HTTP lifecycle hook (%s) for Container %q failed - error: %v",
		a.Path, t.Container.Name, err)}
}

func sleepHook(ctx context.Context, d, timeout time.Duration) error {
	over := timeout > 0 && timeout < d
	if over {
		d = timeout
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	if over {
		return &HookError{Err: context.DeadlineExceeded, Message: "the sleep hook was cut short by the grace period"}
	}
	return nil
}
