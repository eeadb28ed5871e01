package folder

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/carob-project/carob/pkg/controller/resources"
)

// followed is an API in memory that tells of what others do.
type followed struct {
	fakeAPI
	seen, gone map[string]func(*metav1.PartialObjectMetadata)
	asked      int
}

func (a *followed) Served() (resources.Set, error) {
	a.mu.Lock()
	a.asked++
	a.mu.Unlock()
	return a.fakeAPI.Served()
}

func (a *followed) count() (asked, writes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked, a.writes
}

func (a *followed) Follow(_ context.Context, r resources.Resource, set string, seen, gone func(*metav1.PartialObjectMetadata)) (func(), error) {
	key := r.Kind
	if set == "" {
		key = "any " + key
	}
	a.seen[key], a.gone[key] = seen, gone
	return func() {}, nil
}

// memory is a folder in memory.
type memory struct {
	mu      sync.Mutex
	files   map[string]string
	changed chan struct{}
}

func (m *memory) Changed() <-chan struct{} { return m.changed }

func (m *memory) Read() Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Snapshot{raw: map[string]content{}}
	d := disorder{files: m.files}
	for _, f := range d.read() {
		s.Files = append(s.Files, f)
		s.raw[f.Path] = content{sum: m.files[f.Path]}
	}
	return s
}

func object(name, namespace, value string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata: {k: %q}\n", name, namespace, value)
}

func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := SetID(RecordName)
		a := &followed{
			fakeAPI: fakeAPI{t: t, r: rand.New(rand.NewPCG(1, 1)), objects: map[Key]*fakeObject{{Kind: "Namespace", Name: "shop"}: {}}, set: set},
			seen:    map[string]func(*metav1.PartialObjectMetadata){}, gone: map[string]func(*metav1.PartialObjectMetadata){},
		}
		m := &memory{files: map[string]string{}, changed: make(chan struct{}, 1)}
		var events []string
		c, err := New(Options{Dir: "/manifests", Source: m, Client: fake.NewClientset(), Cluster: a, Tool: "carob/v0",
			Tell: func(_, reason, message string) {
				a.mu.Lock()
				defer a.mu.Unlock()
				events = append(events, reason+" "+message)
			}})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		change := func(name, text string) {
			m.mu.Lock()
			if m.files[name] = text; text == "" {
				delete(m.files, name)
			}
			m.mu.Unlock()
			m.changed <- struct{}{}
			synctest.Wait()
		}
		has := func(name, namespace, want string) {
			t.Helper()
			a.mu.Lock()
			defer a.mu.Unlock()
			o := a.objects[Key{Kind: "ConfigMap", Namespace: namespace, Name: name}]
			if got := o; (got == nil) != (want == "") || got != nil && got.value != want {
				t.Fatalf("%s/%s is %+v, want %q; events:\n%s", namespace, name, o, want, strings.Join(events, "\n"))
			}
		}
		synctest.Wait()

		// What is there is applied at once, what is gone a second later, unless it
		// has come back elsewhere.
		change("a.yaml", object("x", "shop", "1")+object("w", "shop", "1"))
		has("x", "shop", "1")
		change("a.yaml", object("x", "shop", "1"))
		has("w", "shop", "1")
		time.Sleep(settle / 2)
		change("b.yaml", object("w", "shop", "1"))
		time.Sleep(time.Hour)
		has("w", "shop", "1")
		change("b.yaml", "")
		has("w", "shop", "1")
		time.Sleep(settle)
		synctest.Wait()
		has("w", "shop", "")

		// Where nothing changes, nothing is done or asked.
		asked, writes := a.count()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n, m := a.count(); m != writes || n != asked {
			t.Errorf("%d writes and %d questions in a quiet day", m-writes, n-asked)
		}

		// What waits for a namespace comes as soon as that is there.
		change("c.yaml", object("z", "late", "1"))
		time.Sleep(time.Hour)
		has("z", "late", "")
		a.mu.Lock()
		a.objects[Key{Kind: "Namespace", Name: "late"}] = &fakeObject{}
		a.mu.Unlock()
		a.seen["any Namespace"](&metav1.PartialObjectMetadata{})
		synctest.Wait()
		has("z", "late", "1")

		// What somebody deletes is made again, and what somebody changes brought
		// back; the first time at once.
		key := Key{Kind: "ConfigMap", Namespace: "shop", Name: "x"}
		a.mu.Lock()
		o := a.objects[key]
		delete(a.objects, key)
		a.mu.Unlock()
		a.gone["ConfigMap"](o.DeepCopy())
		synctest.Wait()
		has("x", "shop", "1")
		for i, wait := range []time.Duration{0, time.Second, 2 * time.Second} {
			a.mu.Lock()
			o = a.objects[key]
			o.value, o.ManagedFields = "theirs", nil
			a.version++
			o.ResourceVersion = fmt.Sprint(a.version)
			a.mu.Unlock()
			a.seen["ConfigMap"](o.DeepCopy())
			synctest.Wait()
			if wait > 0 {
				has("x", "shop", "theirs")
				time.Sleep(wait)
				synctest.Wait()
			}
			has("x", "shop", "1")
			a.mu.Lock()
			last := events[len(events)-1]
			a.mu.Unlock()
			if !strings.HasPrefix(last, "ManifestRestored") {
				t.Errorf("round %d: %s", i, last)
			}
		}
		// A kind that is not served is asked for again, ever more seldom.
		asked, _ = a.count()
		change("d.yaml", "apiVersion: v1\nkind: Other\nmetadata: {name: a}\n")
		time.Sleep(time.Hour)
		synctest.Wait()
		if n, _ := a.count(); n-asked < 10 || n-asked > 25 {
			t.Errorf("asked %d times in an hour", n-asked)
		}
		cancel()
		must(t, <-done)
	})
}
