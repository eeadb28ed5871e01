package etcd

import (
	"fmt"
	"sync"

	"go.uber.org/zap/zapcore"
)

// quietCore passes on what ends the member. Everything else is at debug level:
// most of etcd's warnings and errors are about settings that suit a cluster, or
// part of every start and stop.
type quietCore struct {
	zapcore.Core
	last *lastError
}

// With keeps the wrapper around the derived core.
func (c *quietCore) With(fields []zapcore.Field) zapcore.Core {
	return &quietCore{Core: c.Core.With(fields), last: c.last}
}

// Enabled lets errors through even where they are not written, to remember the
// last one.
func (c *quietCore) Enabled(l zapcore.Level) bool {
	return l >= zapcore.ErrorLevel || c.Core.Enabled(zapcore.DebugLevel)
}

// Check adds this core, so that Write sees the entry.
func (c *quietCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) {
		return to
	}
	return to.AddCore(e, c)
}

// Write remembers errors and writes the entry at its new level.
func (c *quietCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if e.Level >= zapcore.ErrorLevel {
		c.last.set(e.Message, fields)
	}
	if e.Level < zapcore.DPanicLevel {
		e.Level, e.Stack = zapcore.DebugLevel, ""
	}
	if !c.Core.Enabled(e.Level) {
		return nil
	}
	return c.Core.Write(e, fields)
}

// lastError is the last error that was logged. etcd's start loses it where it
// panics while it cleans up.
type lastError struct {
	mu  sync.Mutex
	err error
}

func (l *lastError) set(message string, fields []zapcore.Field) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = describe(message, fields)
}

func (l *lastError) or(other error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	return other
}

// describe joins an entry's message and its error.
func describe(message string, fields []zapcore.Field) error {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			return fmt.Errorf("%s: %w", message, err)
		}
	}
	return fmt.Errorf("%s", message)
}
