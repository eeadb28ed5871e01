package resources

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	metadatafake "k8s.io/client-go/metadata/fake"
)

// served is a discovery whose answer can be changed.
type served struct {
	mu    sync.Mutex
	lists []*metav1.APIResourceList
	err   error
	asked int
}

func (s *served) ServerGroupsAndResources() ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	var groups []*metav1.APIGroup
	for _, l := range s.lists {
		groups = append(groups, &metav1.APIGroup{PreferredVersion: metav1.GroupVersionForDiscovery{GroupVersion: l.GroupVersion}})
	}
	return groups, s.lists, s.err
}

func (s *served) set(err error, lists ...*metav1.APIResourceList) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists, s.err = lists, err
}

func resourceList(groupVersion, name, kind string) *metav1.APIResourceList {
	return &metav1.APIResourceList{GroupVersion: groupVersion, APIResources: []metav1.APIResource{
		{Name: name, Kind: kind, Namespaced: true, Verbs: metav1.Verbs{"list", "watch", "delete"}},
	}}
}

func object(apiVersion, kind, name string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiVersion, Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: types.UID(name)},
	}
}

// notes is a Handler that remembers what is there.
type notes struct {
	mu   sync.Mutex
	have map[string]bool
}

func (n *notes) Observe(_ Resource, o *metav1.PartialObjectMetadata) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.have[o.Name] = true
}

func (n *notes) Gone(_ Resource, o *metav1.PartialObjectMetadata) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.have, o.Name)
}

func (n *notes) list() []string {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	out := []string{}
	for name := range n.have {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// begin runs monitors over objects.
func begin(t *testing.T, d Discovery, objects ...runtime.Object) (*Monitors, *notes, *metadatafake.FakeMetadataClient) {
	t.Helper()
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	client := metadatafake.NewSimpleMetadataClient(scheme, objects...)
	m := NewMonitors(Options{Discovery: d, Metadata: client})
	n := &notes{have: map[string]bool{}}
	m.Subscribe(n)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return m, n, client
}

func TestMonitorsFollowWhatIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		things, others := resourceList("example.com/v1", "things", "Thing"), resourceList("example.org/v1", "others", "Other")
		definitions := resourceList("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition")
		d := &served{lists: []*metav1.APIResourceList{things, definitions, resourceList("v1", "events", "Event")}}
		m, n, client := begin(t, d,
			object("example.com/v1", "Thing", "t"), object("example.org/v1", "Other", "o"), object("v1", "Event", "ignored"))
		<-m.Ready()
		if got := n.list(); !slices.Equal(got, []string{"t"}) {
			t.Errorf("at first %q", got)
		}
		// A definition comes: its kind is watched soon.
		d.set(nil, things, definitions, others)
		gvr := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
		if err := client.Tracker().Create(gvr, object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "d"), "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * refreshGap)
		if got := n.list(); !slices.Equal(got, []string{"d", "o", "t"}) {
			t.Errorf("with another kind %q", got)
		}
		// An incomplete answer takes nothing away, a complete one does.
		d.set(errors.New("half"), things, definitions)
		m.Refresh()
		time.Sleep(2 * refreshGap)
		if got := n.list(); len(got) != 3 {
			t.Errorf("after an incomplete answer %q", got)
		}
		d.set(nil, things, definitions)
		time.Sleep(2 * retryDiscoveryMax)
		if got := n.list(); !slices.Equal(got, []string{"d", "t"}) {
			t.Errorf("after a kind has gone %q", got)
		}
		if err := m.Settle(t.Context()); err != nil {
			t.Error(err)
		}
		asked := d.asked
		if time.Sleep(time.Hour); d.asked != asked {
			t.Errorf("asked %d times for nothing", d.asked-asked)
		}
	})
}

func TestMonitorsRetryDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &served{err: errors.New("nobody there")}
		m, n, _ := begin(t, d, object("example.com/v1", "Thing", "t"))
		time.Sleep(5 * time.Second)
		select {
		case <-m.Ready():
			t.Error("ready without discovery")
		default:
		}
		d.set(nil, resourceList("example.com/v1", "things", "Thing"))
		<-m.Ready()
		if got := n.list(); !slices.Equal(got, []string{"t"}) {
			t.Errorf("got %q", got)
		}
	})
}

// seen is a Handler that notes what it is told.
type seen []string

func (s *seen) Observe(_ Resource, o *metav1.PartialObjectMetadata) {
	*s = append(*s, "observe "+string(o.UID))
}

func (s *seen) Gone(_ Resource, o *metav1.PartialObjectMetadata) {
	*s = append(*s, "gone "+string(o.UID))
}

func TestReplacedObjectIsGone(t *testing.T) {
	m := NewMonitors(Options{})
	var got seen
	m.Subscribe(&got)
	old, namesake := object("v1", "Thing", "t"), object("v1", "Thing", "t")
	namesake.UID = "another"
	h := m.handler(Resource{})
	h.OnAdd(old, false)
	h.OnUpdate(old, old)
	h.OnUpdate(old, namesake)
	if want := []string{"observe t", "observe t", "gone t", "observe another"}; !slices.Equal(got, want) {
		t.Errorf("told %q", got)
	}
}
