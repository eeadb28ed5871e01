package podlog

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	corev1 "k8s.io/api/core/v1"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The end of a log never comes with its last bytes, whatever the node's answer
// does; and an error is not taken for the end.
func TestEndComesAlone(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		body io.Reader
		text string
		end  error
	}{
		"with the last bytes": {iotest.DataErrReader(strings.NewReader("one\ntwo\n")), "one\ntwo\n", io.EOF},
		"after them":          {strings.NewReader("one\n"), "one\n", io.EOF},
		"nothing":             {strings.NewReader(""), "", io.EOF},
		"broken off":          {iotest.DataErrReader(io.MultiReader(strings.NewReader("one"), iotest.ErrReader(broken))), "one", broken},
	} {
		s := &stream{location: "http://node/containerLogs/default/p/c", pod: "p", container: "c", transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(c.body)}, nil
		})}
		body, _, _, err := s.InputStream(t.Context(), corev1.SchemeGroupVersion.String(), "")
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		buf := make([]byte, 64)
		n := 0
		for err == nil {
			n, err = body.Read(buf)
			text.Write(buf[:n])
		}
		if n != 0 || text.String() != c.text || !errors.Is(err, c.end) {
			t.Errorf("%s: %q, then %d bytes with %v", name, text.String(), n, err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
}
