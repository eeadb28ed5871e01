package hijack

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestContextEndsWithTheClient(t *testing.T) {
	t.Run("read", func(t *testing.T) { endsWithClient(t, true) })
	t.Run("not read", func(t *testing.T) { endsWithClient(t, false) })
}

func endsWithClient(t *testing.T, read bool) {
	got, ended := make(chan string, 1), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w, r, cancel := Watch(w, r)
		defer cancel()
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		// Sent together with the request: it must not be lost in a buffer.
		word := make([]byte, 5)
		_, _ = io.ReadFull(rw, word)
		got <- string(word)
		if read {
			go func() { _, _ = io.Copy(io.Discard, rw) }()
		}
		<-r.Context().Done()
		close(ended)
	}))
	defer s.Close()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(c)
	_, _ = w.WriteString("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: y\r\n\r\nearly")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if word := <-got; word != "early" {
		t.Errorf("read %q", word)
	}
	select {
	case <-ended:
		t.Fatal("the context ended while the client was there")
	case <-time.After(50 * time.Millisecond):
	}
	_ = c.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the context goes on without the client")
	}
}
