package agent

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"unicode/utf8"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// Limits of a termination message that is taken from the log, as Kubernetes
// documents them.
const (
	fallbackLines = 80
	fallbackBytes = 2048
)

// ending is what is known of an attempt that has ended, beside its exit.
type ending struct {
	message string
}

// settle completes the ended attempts in list: their logs are read to the
// end, their termination messages are filled in. Each is done once.
func (w *worker) settle(ctx context.Context, p *corev1.Pod, list []pod.Attempt) {
	var wg sync.WaitGroup
	found := make([]*ending, len(list))
	for i, at := range list {
		if _, done := w.endings[at.ID]; done || at.State != pod.AttemptExited || at.Exit == nil || at.Container == pod.Holder {
			continue
		}
		wg.Go(func() {
			w.a.copiers.finish(ctx, keyOf(at))
			found[i] = &ending{message: w.message(ctx, p, at)}
		})
	}
	wg.Wait()
	for i, e := range found {
		if e != nil {
			w.endings[list[i].ID] = *e
		}
	}
	for i := range list {
		e, ok := w.endings[list[i].ID]
		if !ok || e.message == "" || list[i].Exit.Message != "" {
			continue
		}
		exit := *list[i].Exit
		exit.Message = e.message
		list[i].Exit = &exit
	}
}

// message returns the termination message of an ended attempt.
func (w *worker) message(ctx context.Context, p *corev1.Pod, at pod.Attempt) string {
	if at.Exit.StartError != "" {
		return ""
	}
	k := keyOf(at)
	text, err := w.a.o.Messages.TerminationMessage(ctx, k)
	if err != nil {
		w.log.Debug("no termination message", zap.String("container", at.Container), zap.Error(err))
	}
	if text != "" || at.Exit.Code == 0 || policyOf(p, at.Container) != corev1.TerminationMessageFallbackToLogsOnError {
		return text
	}
	var buf bytes.Buffer
	lines := int64(fallbackLines)
	err = w.a.o.LogReader.ReadLog(ctx, k.Pod, k.Container, k.Number, &corev1.PodLogOptions{TailLines: &lines}, &buf)
	if err != nil {
		w.log.Debug("no log for the termination message", zap.String("container", at.Container), zap.Error(err))
	}
	return lastBytes(buf.String(), fallbackBytes)
}

func policyOf(p *corev1.Pod, container string) corev1.TerminationMessagePolicy {
	c, _ := pod.FindContainer(p, container)
	if c == nil {
		return corev1.TerminationMessageReadFile
	}
	return c.TerminationMessagePolicy
}

// lastBytes returns the end of s, n bytes at most, as valid UTF-8.
func lastBytes(s string, n int) string {
	if len(s) > n {
		s = s[len(s)-n:]
		for len(s) > 0 && !utf8.RuneStart(s[0]) {
			s = s[1:]
		}
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
