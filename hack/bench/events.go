package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// events are those that containerd publishes, with its own times, as its
// client ctr prints them.
type events struct {
	cmd *exec.Cmd

	mu  sync.Mutex
	all []event
	got chan struct{}
}

type event struct {
	at    time.Time
	topic string
	id    string // of the container
}

// watchEvents returns nil without an error where there is no ctr: the picture
// then lacks containerd's part.
func watchEvents(socket string) (*events, error) {
	path, err := exec.LookPath("ctr")
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e := &events{cmd: exec.Command(path, "--address", socket, "events"), got: make(chan struct{}, 1)}
	e.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := e.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if ev, ok := parseEvent(lines.Text()); ok {
				e.add(ev)
			}
		}
	}()
	return e, nil
}

func (e *events) add(ev event) {
	e.mu.Lock()
	e.all = append(e.all, ev)
	e.mu.Unlock()
	select {
	case e.got <- struct{}{}:
	default:
	}
}

// take returns the events of a pod and forgets all, when there are so many
// with this topic.
func (e *events) take(ctx context.Context, uid, topic string, n int) ([]event, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		e.mu.Lock()
		var of []event
		seen := 0
		for _, ev := range e.all {
			if strings.HasPrefix(ev.id, uid) {
				of = append(of, ev)
				if ev.topic == topic {
					seen++
				}
			}
		}
		if seen >= n {
			e.all = nil
			e.mu.Unlock()
			return of, nil
		}
		e.mu.Unlock()
		select {
		case <-e.got:
		case <-ctx.Done():
			return nil, fmt.Errorf("containerd's events do not tell of %d times %s: %w", n, topic, ctx.Err())
		}
	}
}

func (e *events) stop() {
	if e == nil {
		return
	}
	_ = e.cmd.Process.Signal(unix.SIGTERM)
	_ = e.cmd.Wait() // it was told to end
}

// parseEvent reads a line such as
// 2026-11-27 02:15:20.026478561 +0000 UTC carob /containers/create {"id":"x"}.
func parseEvent(line string) (event, bool) {
	f := strings.SplitN(line, " ", 7)
	if len(f) < 7 {
		return event{}, false
	}
	at, err := time.Parse("2006-01-02 15:04:05.999999999 -0700", strings.Join(f[:3], " "))
	var body struct {
		ID          string `json:"id"`
		ContainerID string `json:"container_id"`
		Key         string `json:"key"`
	}
	if err != nil || json.Unmarshal([]byte(f[6]), &body) != nil {
		return event{}, false
	}
	return event{at: at, topic: f[5], id: body.ContainerID + body.ID + body.Key}, true
}
