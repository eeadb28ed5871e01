package ctrd

import (
	"io"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// RouteLogs sends what the containerd client logs by itself to to. Call it
// once in a process, before Connect.
func RouteLogs(to *zap.Logger) {
	l := logrus.New()
	l.SetOutput(io.Discard)
	l.SetLevel(logrus.DebugLevel)
	l.AddHook(zapHook{to.Named("containerd")})
	log.L = logrus.NewEntry(l)
}

// zapHook writes logrus entries to zap.
type zapHook struct{ log *zap.Logger }

func (zapHook) Levels() []logrus.Level { return logrus.AllLevels }

func (h zapHook) Fire(e *logrus.Entry) error {
	entry := h.log.Check(zapLevel(e.Level), e.Message)
	if entry == nil {
		return nil
	}
	fields := make([]zap.Field, 0, len(e.Data))
	for k, v := range e.Data {
		fields = append(fields, zap.Any(k, v))
	}
	entry.Write(fields...)
	return nil
}

// zapLevel never answers a level at which zap itself would end the process.
func zapLevel(l logrus.Level) zapcore.Level {
	switch l {
	case logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel:
		return zapcore.ErrorLevel
	case logrus.WarnLevel:
		return zapcore.WarnLevel
	case logrus.InfoLevel, logrus.DebugLevel, logrus.TraceLevel:
		// The client's information is of no use to carob's user.
		return zapcore.DebugLevel
	}
	return zapcore.DebugLevel
}
