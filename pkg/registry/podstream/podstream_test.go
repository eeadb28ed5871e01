package podstream

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
)

type fakePods struct{ pod *corev1.Pod }

func (f fakePods) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	if f.pod.Name != name {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name)
	}
	return f.pod, nil
}

func testPod(node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "a"}, {Name: "b"}}},
	}
}

func TestRefusals(t *testing.T) {
	transport := func(string) (string, http.RoundTripper, error) { return "http://agent", http.DefaultTransport, nil }
	away := func(string) (string, http.RoundTripper, error) { return "", nil, errors.New("it is away") }
	ok := &corev1.PodExecOptions{Stdout: true, Command: []string{"ls"}, Container: "a"}
	for name, c := range map[string]struct {
		resource, node, pod string
		transport           Transport
		options             runtime.Object
		code                int32
		text                string
	}{
		"exec":         {"pods/exec", "n", "web", transport, ok, 0, ""},
		"attach":       {"pods/attach", "n", "web", transport, &corev1.PodAttachOptions{Stdin: true, Container: "b"}, 0, ""},
		"port-forward": {"pods/portforward", "n", "web", transport, &corev1.PodPortForwardOptions{}, 0, ""},
		"no command": {"pods/exec", "n", "web", transport, &corev1.PodExecOptions{Stdout: true}, 422,
			`PodExecOptions "web" is invalid: command: Required value`},
		"no streams": {"pods/attach", "n", "web", transport, &corev1.PodAttachOptions{}, 400,
			"you must specify at least 1 of stdin, stdout, stderr"},
		"no pod":  {"pods/exec", "n", "nobody", transport, ok, 404, `pods "nobody" not found`},
		"no node": {"pods/exec", "", "web", transport, ok, 400, "pod web does not have a host assigned"},
		"no node to forward to": {"pods/portforward", "", "web", transport, &corev1.PodPortForwardOptions{}, 400,
			"pod web does not have a host assigned"},
		"which container": {"pods/exec", "n", "web", transport, &corev1.PodExecOptions{Stdout: true, Command: []string{"ls"}}, 400,
			"a container name must be specified for pod web, choose one of: [a b]"},
		"no such container": {"pods/attach", "n", "web", transport, &corev1.PodAttachOptions{Stdout: true, Container: "c"}, 400,
			"container c is not valid for pod web"},
		"node away": {"pods/exec", "n", "web", away, ok, 500, "Internal error occurred: node n: it is away"},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(fakePods{testPod(c.node)}, c.transport)[c.resource]
			h, err := s.(rest.Connecter).Connect(t.Context(), c.pod, c.options, nil)
			if c.code == 0 {
				if err != nil || h == nil {
					t.Errorf("%v %v", h, err)
				}
				return
			}
			var status apierrors.APIStatus
			if !errors.As(err, &status) || status.Status().Code != c.code || status.Status().Message != c.text {
				t.Errorf("%v, want %d %s", err, c.code, c.text)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	q, err := url.ParseQuery("stdin=true&stdout=1&stderr=false&tty&container=a&command=ls&command=-l&other=x")
	if err != nil {
		t.Fatal(err)
	}
	exec := corev1.PodExecOptions{Stdin: true, Stdout: true, TTY: true, Container: "a", Command: []string{"ls", "-l"}}
	if d := cmp.Diff(exec, DecodeExec(q)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(corev1.PodAttachOptions{Stdin: true, Stdout: true, TTY: true, Container: "a"}, DecodeAttach(q)); d != "" {
		t.Error(d)
	}
	for in, want := range map[string][]int32{"": nil, "ports=80": {80}, "ports=80,443&ports=1": {80, 443, 1}} {
		q, _ := url.ParseQuery(in)
		if got, err := DecodePortForward(q); err != nil || !cmp.Equal(got.Ports, want) {
			t.Errorf("%s: %v %v", in, got.Ports, err)
		}
	}
	for _, bad := range []string{"ports=", "ports=0", "ports=65536", "ports=http", "ports=1,"} {
		q, _ := url.ParseQuery(bad)
		if o, err := DecodePortForward(q); err == nil {
			t.Errorf("%s: %v", bad, o)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("stdin=true&command=ls&ports=80,443")
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := url.ParseQuery(raw)
		if err != nil {
			t.Skip()
		}
		DecodeExec(q)
		DecodeAttach(q)
		if o, err := DecodePortForward(q); err == nil {
			for _, p := range o.Ports {
				if p < 1 || p > 65535 {
					t.Errorf("port %d", p)
				}
			}
		}
	})
}
