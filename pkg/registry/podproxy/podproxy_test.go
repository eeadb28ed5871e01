package podproxy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func testPod(ip string, ports ...corev1.ContainerPort) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}, {Name: "b", Ports: ports}}},
		Status:     corev1.PodStatus{PodIP: ip},
	}
}

func TestLocation(t *testing.T) {
	dns := corev1.ContainerPort{ContainerPort: 53, Protocol: corev1.ProtocolUDP}
	web := corev1.ContainerPort{ContainerPort: 8080, Protocol: corev1.ProtocolTCP}
	for name, c := range map[string]struct {
		pod          *corev1.Pod
		scheme, port string
		want         string
		err          string
	}{
		"a port":             {pod: testPod("10.1.0.9", web), port: "9000", want: "//10.1.0.9:9000"},
		"the first TCP port": {pod: testPod("10.1.0.9", dns, web), scheme: "https", want: "https://10.1.0.9:8080"},
		"the scheme's port":  {pod: testPod("10.1.0.9", dns), want: "//10.1.0.9"},
		"IPv6":               {pod: testPod("fd00::9"), want: "//[fd00::9]"},
		"IPv6 with a port":   {pod: testPod("fd00::9", web), want: "//[fd00::9]:8080"},
		"no IP yet":          {pod: testPod(""), err: "pod web has no IP"},
		"the server itself":  {pod: testPod("127.0.0.1"), err: "address not allowed: 127.0.0.1"},
		"the server in IPv6": {pod: testPod("::ffff:127.0.0.1"), err: "address not allowed: 127.0.0.1"},
		"metadata services":  {pod: testPod("169.254.169.254"), err: "address not allowed: 169.254.169.254"},
		"many":               {pod: testPod("224.0.0.1"), err: "address not allowed: 224.0.0.1"},
	} {
		u, err := location(c.pod, c.scheme, c.port)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: error %v, want %s", name, err, c.err)
			}
			continue
		}
		if err != nil || u.String() != c.want {
			t.Errorf("%s: %v, %v, want %s", name, u, err, c.want)
		}
	}
}

type fakePods struct{ pod *corev1.Pod }

func (f fakePods) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	if f.pod.Name != name {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name)
	}
	return f.pod, nil
}

type asked struct{ url, method string }

func (a *asked) RoundTrip(r *http.Request) (*http.Response, error) {
	a.url, a.method = r.URL.String(), r.Method
	return &http.Response{StatusCode: http.StatusTeapot, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
}

func TestConnect(t *testing.T) {
	r := New(fakePods{testPod("10.1.0.9")})
	pod := &asked{}
	r.transport = pod
	h, err := r.Connect(t.Context(), "http:web:8080", &corev1.PodProxyOptions{Path: "/a/b/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/api/v1/namespaces/default/pods/http:web:8080/proxy/a/b/?c=d", strings.NewReader("body")))
	if w.Code != http.StatusTeapot || *pod != (asked{"http://10.1.0.9:8080/a/b/?c=d", http.MethodPut}) {
		t.Errorf("code %d, asked %+v", w.Code, *pod)
	}
	for id, code := range map[string]int32{"nobody": 404, "a:b:c:d": 400} {
		_, err := r.Connect(t.Context(), id, &corev1.PodProxyOptions{}, nil)
		var status apierrors.APIStatus
		if !errors.As(err, &status) || status.Status().Code != code {
			t.Errorf("%s: %v, want code %d", id, err, code)
		}
	}
}
