package podtest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/carob-project/carob/pkg/pod"
)

func (s *suite) images() {
	img := s.ensureImage()
	if img.Name == "" || img.ID == "" {
		s.Errorf("image without a name or an ID: %+v", img)
	}
	got, found, err := s.Images.Present(s.Context(), s.Image)
	if err != nil || !found || got.ID != img.ID {
		s.Errorf("Present after Pull = %+v, %v, %v", got, found, err)
	}
	if _, found, err := s.Images.Present(s.Context(), "localhost/carob-suite/absent:none"); err != nil || found {
		s.Errorf("Present of an absent image = %v, %v; want false, nil", found, err)
	}
	if _, err := s.Images.Pull(s.Context(), "UPPER/Case::bad", pod.PullOptions{}); !errors.Is(err, pod.ErrImageName) {
		s.Errorf("Pull of a malformed name = %v, want ErrImageName", err)
	}
}

func (s *suite) create() {
	b := s.bed()
	r, _ := s.request(b, 2, cmdForever)
	r.Init = true
	before := time.Now().Add(-time.Minute)
	id, err := s.Runtime.Create(s.Context(), r)
	if err != nil {
		s.Fatal(err)
	}
	s.cleanup(id)
	again, err := s.Runtime.Create(s.Context(), r)
	if err != nil || again != id {
		s.Errorf("second Create = %q, %v; want %q", again, err, id)
	}
	a := s.only(b)
	want := pod.Attempt{
		Pod: pod.RefOf(b.pod), Container: "c", Init: true, Number: 2, Streak: 2, ID: id,
		SpecHash: "abc123", ImageName: s.Image, ImageID: a.ImageID, State: pod.AttemptCreated,
		CreatedAt: a.CreatedAt, PID: a.PID, User: a.User,
	}
	if a != want {
		s.Errorf("listed\n %+v, want\n %+v", a, want)
	}
	if a.PID == 0 || a.ImageID == "" || a.CreatedAt.Before(before) {
		s.Errorf("PID, image ID or creation time missing: %+v", a)
	}
}

func (s *suite) createConcurrently() {
	b := s.bed()
	r, _ := s.request(b, 0, cmdForever)
	const n = 4
	ids, errs := make([]string, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { ids[i], errs[i] = s.Runtime.Create(s.Context(), r) })
	}
	wg.Wait()
	s.cleanup(ids[0])
	for i := range n {
		if errs[i] != nil || ids[i] != ids[0] {
			s.Errorf("Create %d = %q, %v; want %q", i, ids[i], errs[i], ids[0])
		}
	}
	s.only(b)
}

func (s *suite) createWithoutImage() {
	b := s.bed()
	r, _ := s.request(b, 0, cmdForever)
	r.ImageName = "localhost/carob-suite/absent:none"
	if id, err := s.Runtime.Create(s.Context(), r); err == nil {
		s.cleanup(id)
		s.Error("Create with an absent image succeeded")
	} else if !errors.Is(err, pod.ErrNotFound) {
		s.Errorf("Create with an absent image = %v, want ErrNotFound", err)
	}
	if l := s.list(s.View, b.pod.UID); len(l) != 0 {
		s.Errorf("left behind: %+v", l)
	}
}

func (s *suite) start() {
	b := s.bed()
	id, _ := s.started(b, 0, cmdForever)
	if err := s.Runtime.Start(s.Context(), id); err != nil {
		s.Errorf("second Start: %v", err)
	}
	a := s.only(b)
	if a.State != pod.AttemptRunning || a.PID == 0 || a.StartedAt.IsZero() || a.Exit != nil {
		s.Errorf("after Start: %+v", a)
	}
	// What runs is returned by Create too.
	r, _ := s.request(b, 0, cmdForever)
	if again, err := s.Runtime.Create(s.Context(), r); err != nil || again != id {
		s.Errorf("Create of what runs = %q, %v", again, err)
	}
	if now := s.only(b); now.PID != a.PID {
		s.Errorf("PID changed from %d to %d", a.PID, now.PID)
	}
}

func (s *suite) startUnknown() {
	s.ensureImage()
	if err := s.Runtime.Start(s.Context(), "no-such-attempt"); !errors.Is(err, pod.ErrNotFound) {
		s.Errorf("Start of an unknown attempt = %v, want ErrNotFound", err)
	}
}

func (s *suite) exitCode() {
	b := s.bed()
	id, _ := s.started(b, 0, cmdExit3)
	a := s.exited(b, id)
	if a.Exit.Code != 3 || a.Exit.Lost || a.Exit.OOMKilled || a.Exit.StartError != "" {
		s.Errorf("exit = %+v, want code 3", a.Exit)
	}
	if a.Exit.FinishedAt.IsZero() || a.StartedAt.IsZero() || a.Exit.FinishedAt.Before(a.StartedAt) || a.PID != 0 {
		s.Errorf("times or PID of %+v, %+v", a, a.Exit)
	}
	// An ended attempt stays ended.
	r, _ := s.request(b, 0, cmdExit3)
	if again, err := s.Runtime.Create(s.Context(), r); err != nil || again != id {
		s.Errorf("Create of what has ended = %q, %v", again, err)
	}
	if a := s.only(b); a.State != pod.AttemptExited {
		s.Errorf("came back to life: %+v", a)
	}
}

func (s *suite) exitMany() {
	const n = 4
	beds, ids := make([]bed, n), make([]string, n)
	for i := range n {
		beds[i] = s.bed()
		ids[i], _ = s.started(beds[i], 0, cmdTrue)
	}
	for i := range n {
		if a := s.exited(beds[i], ids[i]); a.Exit.Code != 0 {
			s.Errorf("exit %d = %+v, want code 0", i, a.Exit)
		}
	}
}

// startError accepts an error of Create too, as some OCI runtimes look for the
// program that early. Either way the attempt is there and tells why.
func (s *suite) startError() {
	b := s.bed()
	r, _ := s.request(b, 0, cmdMissing)
	id, err := s.Runtime.Create(s.Context(), r)
	if err == nil {
		s.cleanup(id)
		err = s.Runtime.Start(s.Context(), id)
	}
	if err == nil {
		s.Error("neither Create nor Start reports that the program does not exist")
	}
	a := s.only(b)
	s.cleanup(a.ID)
	if a.State != pod.AttemptExited || a.Exit == nil || a.Exit.StartError == "" {
		s.Errorf("attempt = %+v, exit %+v; want exited with a start error", a, a.Exit)
	}
}

func (s *suite) signalHandled() {
	b := s.bed()
	id, pipes := s.started(b, 0, cmdTrap)
	s.waitOutput(pipes, "ready")
	s.signal(id, syscall.SIGTERM)
	if a := s.exited(b, id); a.Exit.Code != 7 {
		s.Errorf("exit = %+v, want code 7", a.Exit)
	}
	s.signal(id, syscall.SIGKILL)
}

func (s *suite) signalKills() {
	b := s.bed()
	id, _ := s.started(b, 0, cmdForever)
	s.signal(id, syscall.SIGKILL)
	if a := s.exited(b, id); a.Exit.Code != 137 || a.Exit.Lost {
		s.Errorf("exit = %+v, want code 137, seen", a.Exit)
	}
}

func (s *suite) signalUnknown() {
	s.ensureImage()
	s.signal("no-such-attempt", syscall.SIGTERM)
}

func (s *suite) removeRunning() {
	b := s.bed()
	id, _ := s.started(b, 0, cmdForever)
	if err := s.Runtime.Remove(s.Context(), id); err != nil {
		s.Fatalf("Remove of what runs: %v", err)
	}
	if l := s.list(s.View, b.pod.UID); len(l) != 0 {
		s.Errorf("left behind: %+v", l)
	}
	// The same attempt can be made again.
	again, _ := s.made(b, 0, cmdForever)
	if a := s.only(b); a.ID != again || a.State != pod.AttemptCreated {
		s.Errorf("made again: %+v", a)
	}
}

func (s *suite) removeTwice() {
	b := s.bed()
	id, _ := s.made(b, 0, cmdForever)
	for range 2 {
		if err := s.Runtime.Remove(s.Context(), id); err != nil {
			s.Errorf("Remove: %v", err)
		}
	}
	if err := s.Runtime.Remove(s.Context(), "no-such-attempt"); err != nil {
		s.Errorf("Remove of an unknown attempt: %v", err)
	}
	if l := s.list(s.View, b.pod.UID); len(l) != 0 {
		s.Errorf("left behind: %+v", l)
	}
}

func (s *suite) attempts() {
	b := s.bed()
	first, _ := s.started(b, 0, cmdExit3)
	s.exited(b, first)
	second, _ := s.started(b, 1, cmdForever)
	l := s.list(s.View, b.pod.UID)
	if len(l) != 2 || first == second {
		s.Fatalf("attempts %q and %q: %+v", first, second, l)
	}
	if err := s.Runtime.Remove(s.Context(), first); err != nil {
		s.Fatal(err)
	}
	if a := s.only(b); a.ID != second || a.Number != 1 || a.State != pod.AttemptRunning {
		s.Errorf("after the removal of the first: %+v", a)
	}
}

func (s *suite) output() {
	b := s.bed()
	id, pipes := s.started(b, 0, cmdEcho)
	s.exited(b, id)
	s.waitOutput(pipes, "hello there\n")
	s.until("stderr", func() bool {
		_, err := pipes.Output()
		return strings.Contains(err, "oops\n")
	})
}

func (s *suite) watch() {
	b := s.bed()
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	changes, err := s.View.Watch(ctx)
	if err != nil {
		s.Fatal(err)
	}
	id, _ := s.started(b, 0, cmdForever)
	s.drain(changes)
	s.signal(id, syscall.SIGKILL)
	limit := time.NewTimer(s.Wait)
	defer limit.Stop()
	for {
		select {
		case c, open := <-changes:
			if !open {
				s.Fatal("the watch ended by itself")
			}
			if c.UID != "" && c.UID != b.pod.UID {
				continue
			}
			if a := s.only(b); a.State == pod.AttemptExited {
				return
			}
		case <-limit.C:
			s.Fatal("no change when the attempt ended")
		}
	}
}

// drain takes what is waiting in the channel.
func (s *suite) drain(changes <-chan pod.Change) {
	for {
		select {
		case _, open := <-changes:
			if !open {
				return
			}
		default:
			return
		}
	}
}

func (s *suite) watchEnds() {
	ctx, cancel := context.WithCancel(s.Context())
	changes, err := s.View.Watch(ctx)
	if err != nil {
		s.Fatal(err)
	}
	cancel()
	limit := time.NewTimer(s.Wait)
	defer limit.Stop()
	for {
		select {
		case _, open := <-changes:
			if !open {
				return
			}
		case <-limit.C:
			s.Fatal("the channel is still open after the context ended")
		}
	}
}

func (s *suite) restart() {
	if s.Reopen == nil {
		s.Skip("this subject cannot be opened again")
	}
	b := s.bed()
	ended, _ := s.started(b, 0, cmdExit3)
	s.exited(b, ended)
	running, _ := s.started(b, 1, cmdForever)
	before := byID(s.list(s.View, b.pod.UID))
	rt, view := s.Reopen(s.T)
	after := byID(s.list(view, b.pod.UID))
	if len(after) != 2 || after[ended].Exit == nil || after[ended].Exit.Code != 3 {
		s.Fatalf("after a restart: %+v, before: %+v", after, before)
	}
	if after[running].PID != before[running].PID || after[running].State != pod.AttemptRunning {
		s.Errorf("what ran: %+v, now %+v", before[running], after[running])
	}
	if err := rt.Signal(s.Context(), running, syscall.SIGKILL); err != nil {
		s.Fatal(err)
	}
	s.until("the restarted view sees the end", func() bool {
		a := byID(s.list(view, b.pod.UID))[running]
		return a.State == pod.AttemptExited && a.Exit != nil && a.Exit.Code == 137
	})
}

func byID(l []pod.Attempt) map[string]pod.Attempt {
	m := make(map[string]pod.Attempt, len(l))
	for _, a := range l {
		m[a.ID] = a
	}
	return m
}
