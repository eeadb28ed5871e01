package credentialprovider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fakeAccounts has one account; its tokens are numbered.
type fakeAccounts struct {
	annotations map[string]string
	made        int
	now         func() time.Time
	err         error
}

func (f *fakeAccounts) Account(context.Context, string, string) (*corev1.ServiceAccount, error) {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "sa", UID: "sa-uid", Annotations: f.annotations}}, f.err
}

func (f *fakeAccounts) Token(_ context.Context, p *corev1.Pod, audience string, seconds int64) (string, time.Time, error) {
	f.made++
	return fmt.Sprintf("token-%d-%s-%s", f.made, p.Name, audience), f.now().Add(time.Duration(seconds) * time.Second), nil
}

func tokenWorld(t *testing.T, attributes, script string) (*world, *fakeAccounts) {
	t.Helper()
	f := &fakeAccounts{annotations: map[string]string{"need": "1", "may": "2", "other": "3"}}
	w := newWorld(t, map[string]string{"a": script}, []string{"a"}, ", tokenAttributes: {serviceAccountTokenAudience: registry, "+attributes+"}", f)
	f.now = func() time.Time { return w.now }
	return w, f
}

func TestAPluginIsToldOfTheAccount(t *testing.T) {
	w, f := tokenWorld(t, "requireServiceAccount: true, cacheType: ServiceAccount, requiredServiceAccountAnnotationKeys: [need], optionalServiceAccountAnnotationKeys: [may, not]",
		answer("DIR", "a", "Image", ""))
	got := w.Credentials(t.Context(), owner("a"), "r.example/a")
	if len(got) != 1 || got[0].Account != "sa-uid" || got[0].Node {
		t.Errorf("got %+v", got)
	}
	if _, text := w.calls(t); !strings.Contains(text, `"serviceAccountToken":"token-1-a-registry"`) || !strings.Contains(text, `"serviceAccountAnnotations":{"may":"2","need":"1"}`) {
		t.Errorf("told %s", text)
	}
	// Another pod of the account, with a token of its own, has the same answer.
	if w.Credentials(t.Context(), owner("b"), "r.example/a"); f.made != 2 {
		t.Errorf("%d tokens", f.made)
	}
	if n, _ := w.calls(t); n != 1 {
		t.Errorf("%d questions", n)
	}
	delete(f.annotations, "need")
	if got := w.Credentials(t.Context(), owner("a"), "r.example/b"); len(got) != 0 {
		t.Errorf("of an account that does not take part: %v", got)
	}
	none := owner("a")
	none.Spec.ServiceAccountName = ""
	if got := w.Credentials(t.Context(), none, "r.example/b"); len(got) != 0 {
		t.Errorf("without an account: %v", got)
	}
	f.err = errors.New("away")
	if got := w.Credentials(t.Context(), owner("a"), "r.example/a"); len(got) != 0 {
		t.Errorf("without the API: %v", got)
	}
}

func TestAnswersByToken(t *testing.T) {
	w, f := tokenWorld(t, "requireServiceAccount: false, cacheType: Token", answer("DIR", "a", "Global", ""))
	step := func(name, pod string, after time.Duration, tokens, questions int) {
		t.Helper()
		w.now = w.now.Add(after)
		w.Credentials(t.Context(), owner(pod), "r.example/a")
		if n, _ := w.calls(t); n != questions || f.made != tokens {
			t.Errorf("%s: %d questions, %d tokens", name, n, f.made)
		}
	}
	step("first", "a", 0, 1, 1)
	step("again", "a", 40*time.Minute, 1, 1)
	step("another pod", "b", 0, 2, 2)
	step("a new token", "a", 10*time.Minute, 3, 3)
	none := owner("a")
	none.Spec.ServiceAccountName = ""
	if got := w.Credentials(t.Context(), none, "r.example/a"); len(got) != 1 || !got[0].Node {
		t.Errorf("without an account: %+v", got)
	}
}

func TestATokenComesBackOnlyWhereItMay(t *testing.T) {
	echo := strings.Replace(answer("DIR", "a", "Image", ""), `"password": "p"`, `"password": "token-1-a-registry"`, 1)
	for kind, want := range map[string]int{"Token": 1, "ServiceAccount": 0} {
		w, _ := tokenWorld(t, "requireServiceAccount: true, cacheType: "+kind, echo)
		if got := w.Credentials(t.Context(), owner("a"), "r.example/a"); len(got) != want {
			t.Errorf("%s: %v", kind, got)
		}
	}
}
