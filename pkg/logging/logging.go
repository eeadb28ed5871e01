// Package logging makes the one logger of a carob process and routes into it
// what libraries log by themselves. Components get a *zap.Logger handed in and
// must not make their own.
package logging

import (
	"fmt"
	"io"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
)

// New returns a logger that writes to w. level is debug, info, warn or error;
// format is console or json.
func New(w io.Writer, level, format string) (*zap.Logger, error) {
	lvl, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("log-level: %w", err)
	}
	ec := zap.NewProductionEncoderConfig()
	ec.EncodeTime = zapcore.ISO8601TimeEncoder
	ec.EncodeDuration = zapcore.StringDurationEncoder
	enc := zapcore.NewConsoleEncoder(ec)
	if format == "json" {
		enc = zapcore.NewJSONEncoder(ec)
	}
	return zap.New(zapcore.NewCore(enc, zapcore.Lock(zapcore.AddSync(w)), lvl)), nil
}

// RouteKlog sends what the Kubernetes libraries log into log. Call it once,
// before any of them starts. What they call errors though it is only a client
// that hung up becomes information for debugging.
func RouteKlog(log *zap.Logger) {
	demote := zap.WrapCore(func(c zapcore.Core) zapcore.Core { return hangUps{c} })
	klog.SetLogger(zapr.NewLogger(log.Named("k8s").WithOptions(demote)))
}

// hangUps is a core that lowers messages about streams whose client has gone.
type hangUps struct{ zapcore.Core }

// With implements zapcore.Core.
func (h hangUps) With(fields []zapcore.Field) zapcore.Core { return hangUps{h.Core.With(fields)} }

// Check implements zapcore.Core.
func (h hangUps) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	switch e.Message {
	case "Error on socket receive", "Unable to write frame",
		"Error proxying data from client to backend", "Error proxying data from backend to client":
		e.Level = zapcore.DebugLevel
	}
	return h.Core.Check(e, ce)
}
