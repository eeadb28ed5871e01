// Package pipekeeper keeps named pipes open for a carob that may be killed.
//
// What a container has written waits in its log pipes until carob reads it. A
// pipe that nobody has open loses what is in it, and the shim closes its ends
// when the container ends: one that ends while carob is away would take its
// last words along. So a small process of its own, one an instance, has the
// pipes open too. It is the same binary under another name, goes on running
// when carob ends, and reads nothing.
//
// The package must not know containers or logs. It imports little, so that its
// process branches off before most of the binary is initialised, and gives back
// what its start has touched: it costs a few megabytes.
package pipekeeper

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Name is what the process is called; a binary started under it is a keeper.
const Name = "carob-keeper"

// The words of the protocol: a line a request, a line an answer.
const (
	wordKeep = "keep "
	wordDrop = "drop "
	wordQuit = "quit"
	answerOK = "ok"
)

func init() {
	if len(os.Args) == 2 && filepath.Base(os.Args[0]) == Name {
		if err := serve(os.Args[1]); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, Name+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// serve answers on a socket until it is told to quit.
func serve(socket string) error {
	_ = os.Remove(socket) // of a keeper that was killed
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	shrink()
	k := &keeper{open: map[string]int{}, quit: func() { _ = l.Close() }}
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go k.converse(conn)
	}
}

type keeper struct {
	mu   sync.Mutex
	open map[string]int
	quit func()
}

func (k *keeper) converse(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for s := bufio.NewScanner(conn); s.Scan(); {
		answer := answerOK
		if err := k.answer(s.Text()); err != nil {
			answer = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		if _, err := fmt.Fprintln(conn, answer); err != nil {
			return
		}
		if s.Text() == wordQuit {
			k.quit()
		}
	}
}

var errRequest = errors.New("unknown request")

func (k *keeper) answer(request string) error {
	if path, ok := strings.CutPrefix(request, wordKeep); ok {
		return k.keep(path)
	}
	if path, ok := strings.CutPrefix(request, wordDrop); ok {
		return k.drop(path)
	}
	if request == wordQuit {
		return nil
	}
	return errRequest
}

// keep opens a pipe for reading and writing, which never blocks and takes
// nothing out of it.
func (k *keeper) keep(path string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, kept := k.open[path]; kept {
		return nil
	}
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		_ = syscall.Close(fd)
		return &os.PathError{Op: "keep", Path: path, Err: errNotPipe}
	}
	k.open[path] = fd
	return nil
}

var errNotPipe = errors.New("not a named pipe")

func (k *keeper) drop(path string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	fd, kept := k.open[path]
	if !kept {
		return nil
	}
	delete(k.open, path)
	return syscall.Close(fd)
}
