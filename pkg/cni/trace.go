package cni

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"go.opentelemetry.io/otel/attribute"

	"github.com/carob-project/carob/pkg/tracing"
)

// tracedExec makes a span of each plugin that is run.
type tracedExec struct{ invoke.Exec }

// ExecPlugin implements invoke.Exec.
func (e *tracedExec) ExecPlugin(ctx context.Context, path string, in []byte, env []string) ([]byte, error) {
	command := ""
	for _, v := range env {
		if c, ok := strings.CutPrefix(v, "CNI_COMMAND="); ok {
			command = c
		}
	}
	ctx, done := tracing.Begin(ctx, "cni "+filepath.Base(path), attribute.String("command", command))
	out, err := e.Exec.ExecPlugin(ctx, path, in, env)
	done(err)
	return out, err
}
