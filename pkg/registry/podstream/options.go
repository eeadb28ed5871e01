package podstream

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// AddToScheme registers how a query becomes the options of each subresource.
func AddToScheme(s *runtime.Scheme) error {
	for _, add := range []struct {
		to   any
		conv conversion.ConversionFunc
	}{
		{(*corev1.PodExecOptions)(nil), func(a, b any, _ conversion.Scope) error {
			*b.(*corev1.PodExecOptions) = DecodeExec(*a.(*url.Values))
			return nil
		}},
		{(*corev1.PodAttachOptions)(nil), func(a, b any, _ conversion.Scope) error {
			*b.(*corev1.PodAttachOptions) = DecodeAttach(*a.(*url.Values))
			return nil
		}},
		{(*corev1.PodPortForwardOptions)(nil), func(a, b any, _ conversion.Scope) error {
			o, err := DecodePortForward(*a.(*url.Values))
			*b.(*corev1.PodPortForwardOptions) = o
			return err
		}},
	} {
		if err := s.AddConversionFunc((*url.Values)(nil), add.to, add.conv); err != nil {
			return err
		}
	}
	return nil
}

// DecodeExec reads the query of an exec; keys it does not know are ignored, as
// for every request.
func DecodeExec(q url.Values) corev1.PodExecOptions {
	return corev1.PodExecOptions{
		Stdin: decodeBool(q, "stdin"), Stdout: decodeBool(q, "stdout"), Stderr: decodeBool(q, "stderr"),
		TTY: decodeBool(q, "tty"), Container: q.Get("container"), Command: q["command"],
	}
}

// DecodeAttach reads the query of an attach.
func DecodeAttach(q url.Values) corev1.PodAttachOptions {
	return corev1.PodAttachOptions{
		Stdin: decodeBool(q, "stdin"), Stdout: decodeBool(q, "stdout"), Stderr: decodeBool(q, "stderr"),
		TTY: decodeBool(q, "tty"), Container: q.Get("container"),
	}
}

// DecodePortForward reads the query of a port-forward. Ports stand in it only
// where the client speaks WebSocket channels; they come one by one or
// separated by commas.
func DecodePortForward(q url.Values) (corev1.PodPortForwardOptions, error) {
	var o corev1.PodPortForwardOptions
	for _, v := range q["ports"] {
		for s := range strings.SplitSeq(v, ",") {
			n, err := strconv.ParseUint(s, 10, 16)
			if err != nil || n == 0 {
				return corev1.PodPortForwardOptions{}, fmt.Errorf("ports: %q is not a port from 1 to 65535", s)
			}
			o.Ports = append(o.Ports, int32(n))
		}
	}
	return o, nil
}

// decodeBool reads a flag as the API does: present and neither "0" nor
// "false" is true.
func decodeBool(q url.Values, key string) bool {
	v, ok := q[key]
	return ok && (len(v) == 0 || v[0] != "0" && v[0] != "false")
}

// streams are the flags that exec and attach have in common.
type streams struct{ stdin, stdout, stderr, tty bool }

var errNoStream = apierrors.NewBadRequest("you must specify at least 1 of stdin, stdout, stderr")

func (s streams) none() bool { return !s.stdin && !s.stdout && !s.stderr }

// query is what the node is asked, in the form of a kubelet's API.
func (s streams) query() url.Values {
	q := url.Values{}
	for name, set := range map[string]bool{"input": s.stdin, "output": s.stdout, "error": s.stderr, "tty": s.tty} {
		if set {
			q.Set(name, "1")
		}
	}
	return q
}
