package folder

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/controller/resources"
)

// fakeAPI holds objects in memory: what it is asked to write is subject to a
// few of the rules of an API server, and now and then fails.
type fakeAPI struct {
	t *testing.T
	// mu is held while the API is asked, for tests that look while a loop runs.
	mu      sync.Mutex
	r       *rand.Rand
	objects map[Key]*fakeObject
	version int
	flaky   bool
	writes  int
	// wanted are the objects that a file that can be read names.
	wanted map[Key]bool
	// set is the name of the folder's set.
	set string
}

type fakeObject struct {
	metav1.PartialObjectMetadata
	value string
}

func served() resources.Set {
	list := metav1.APIResourceList{GroupVersion: "v1"}
	for kind, namespaced := range map[string]bool{"ConfigMap": true, "Namespace": false} {
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: strings.ToLower(kind) + "s", Kind: kind, Namespaced: namespaced, Verbs: []string{"get", "list", "watch", "patch", "delete"},
		})
	}
	set, err := resources.NewSet([]*metav1.APIGroup{{PreferredVersion: metav1.GroupVersionForDiscovery{GroupVersion: "v1"}}}, []*metav1.APIResourceList{&list})
	if err != nil {
		panic(err)
	}
	return set
}

func (a *fakeAPI) Served() (resources.Set, error) { return served(), nil }

func (a *fakeAPI) Look(_ context.Context, r resources.Resource, key Key) (*metav1.PartialObjectMetadata, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o := a.objects[key]; o != nil {
		return o.DeepCopy(), nil
	}
	return nil, apierrors.NewNotFound(r.GVR.GroupResource(), key.Name)
}

var errFlaky = errors.New("the API server is busy")

func (a *fakeAPI) Apply(_ context.Context, d *Document, set string, force, dry bool) (*metav1.PartialObjectMetadata, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	gr := d.Resource.GVR.GroupResource()
	data, _ := d.Content["data"].(map[string]any)
	value, _ := data["k"].(string)
	if a.flaky && a.r.IntN(4) == 0 {
		return nil, errFlaky
	}
	if value == "bad" {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: d.Kind}, d.Name, nil)
	}
	if d.Namespace != "" && a.objects[Key{Kind: "Namespace", Name: d.Namespace}] == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, d.Namespace)
	}
	o := a.objects[d.Key]
	if o != nil && o.Labels[LabelPartOf] != set {
		a.t.Fatalf("%s is not the folder's, and written to", d.Key)
	}
	if o != nil && !force {
		return nil, apierrors.NewConflict(gr, d.Name, errors.New("conflict"))
	}
	next := &fakeObject{value: value}
	next.Namespace, next.Name, next.Labels = d.Namespace, d.Name, map[string]string{LabelPartOf: set}
	next.Annotations = map[string]string{AnnotationFile: d.File, AnnotationHash: d.Hash}
	next.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: Manager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(`{"k":1}`)}}
	a.version++
	next.UID, next.ResourceVersion = types.UID(strconv.Itoa(a.version)), strconv.Itoa(a.version)
	if o != nil {
		next.UID = o.UID
		if o.value == value && maps.Equal(o.Annotations, next.Annotations) && owned(o) == owned(next) {
			next.ResourceVersion = o.ResourceVersion
		}
	}
	if !dry {
		a.writes++
		a.objects[d.Key] = next
	}
	return next.DeepCopy(), nil
}

func (a *fakeAPI) Delete(_ context.Context, m Member) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.flaky && a.r.IntN(4) == 0 {
		return errFlaky
	}
	o := a.objects[m.Key]
	switch {
	case o == nil:
		return apierrors.NewNotFound(m.Resource.GVR.GroupResource(), m.Name)
	case o.Labels[LabelPartOf] != a.set:
		a.t.Fatalf("%s is not the folder's, and pruned", m.Key)
	case a.wanted[m.Key]:
		a.t.Fatalf("%s is in a file, and pruned", m.Key)
	}
	a.writes++
	delete(a.objects, m.Key)
	if m.Kind == "Namespace" {
		for key := range a.objects {
			if key.Namespace == m.Name {
				if a.objects[key].Labels[LabelPartOf] == "" {
					a.t.Fatalf("%s of others goes with its namespace", key)
				}
				delete(a.objects, key)
			}
		}
	}
	return nil
}

func (a *fakeAPI) List(_ context.Context, r resources.Resource, namespace, set string) ([]metav1.PartialObjectMetadata, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []metav1.PartialObjectMetadata
	for key, o := range a.objects {
		if key.Kind == r.Kind && (namespace == "" || key.Namespace == namespace) && (set == "" || o.Labels[LabelPartOf] == set) {
			out = append(out, *o.DeepCopy())
		}
	}
	return out, nil
}

func (a *fakeAPI) Follow(context.Context, resources.Resource, string, func(*metav1.PartialObjectMetadata), func(*metav1.PartialObjectMetadata)) (func(), error) {
	return nil, errors.New("not used here")
}

// restarted is a session that knows nothing but what the API says.
func (a *fakeAPI) restarted() *session {
	s := newSession(a, "set")
	s.served = served()
	a.relist(s)
	return s
}

func (a *fakeAPI) relist(s *session) {
	known := s.known()
	for _, r := range s.served.Preferred() {
		all, _ := a.List(context.Background(), r, "", s.set)
		for i := range all {
			if s.see(r, &all[i]) {
				s.forget(memberOf(r, &all[i]).Key)
			}
			delete(known, memberOf(r, &all[i]).Key)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range known {
		delete(s.members, key)
	}
}

// disorder is a folder whose files say anything.
type disorder struct {
	r     *rand.Rand
	files map[string]string
}

func (d *disorder) change() {
	name := fmt.Sprintf("%c.yaml", 'a'+d.r.IntN(4))
	switch d.r.IntN(8) {
	case 0:
		delete(d.files, name)
	case 1:
		d.files[name] += "---\n{broken\n"
	case 2:
		other := fmt.Sprintf("%c.yaml", 'a'+d.r.IntN(4))
		if text, ok := d.files[name]; ok {
			delete(d.files, name)
			d.files[other] = text
		}
	default:
		var b strings.Builder
		for range d.r.IntN(4) {
			if d.r.IntN(4) == 0 {
				fmt.Fprintf(&b, "---\n"+namespaceYAML, d.r.IntN(2))
				continue
			}
			value := strconv.Itoa(d.r.IntN(3))
			if d.r.IntN(12) == 0 {
				value = "bad"
			}
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: o%d, namespace: n%d}\ndata: {k: %q}\n", d.r.IntN(4), d.r.IntN(2), value)
		}
		d.files[name] = b.String()
	}
}

const namespaceYAML = "apiVersion: v1\nkind: Namespace\nmetadata: {name: n%d}\n"

func (d *disorder) read() []File {
	var out []File
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		out = append(out, Parse(name, []byte(d.files[name])))
	}
	return out
}

func (d *disorder) resolved() []File {
	files, _ := Resolve(d.read(), served(), DefaultNamespace)
	return files
}

// later lets the time come at which everything is tried again.
func later(s *session) {
	for key, a := range s.attempts {
		a.After = time.Time{}
		s.attempts[key] = a
	}
}

// Whatever the files say and whenever the process ends: only what is the
// folder's is written or deleted, nothing that a file names is ever deleted,
// and once the files are in order the objects are what they say.
func TestHistories(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 7))
		a := &fakeAPI{t: t, r: r, objects: map[Key]*fakeObject{}, flaky: true, set: "set"}
		foreign := Key{Kind: "ConfigMap", Namespace: "n0", Name: "o0"}
		a.objects[Key{Kind: "Namespace", Name: "n0"}] = &fakeObject{}
		o := &fakeObject{value: "theirs"}
		o.Namespace, o.Name = "n0", "o0"
		a.objects[foreign] = o
		d := &disorder{r: r, files: map[string]string{}}
		s := a.restarted()
		for range 25 {
			d.change()
			files := d.resolved()
			a.wanted = map[Key]bool{}
			for _, f := range files {
				for _, doc := range f.Documents {
					a.wanted[doc.Key] = true
				}
			}
			if r.IntN(5) == 0 {
				s = a.restarted()
			}
			ctx, cancel := context.WithCancel(t.Context())
			if r.IntN(4) == 0 {
				cancel() // killed before anything was done
			}
			s.pass(ctx, files, r.IntN(10) == 0, time.Time{})
			cancel()
			a.relist(s)
		}
		if a.objects[foreign].value != "theirs" {
			t.Fatalf("seed %d: the foreign object was changed", seed)
		}
		d.files = map[string]string{"a.yaml": fmt.Sprintf("---\n"+namespaceYAML, 1)}
		for i := range 4 {
			d.files["b.yaml"] += fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: o%d, namespace: n1}\ndata: {k: %q}\n", i, strconv.Itoa(i))
		}
		a.flaky, a.wanted = false, map[Key]bool{}
		var plan Plan
		for range 4 {
			later(s)
			plan, _ = s.pass(t.Context(), d.resolved(), false, time.Time{})
			a.relist(s)
		}
		a.converged(seed, d.resolved(), plan)
		before := a.writes
		s.pass(t.Context(), d.resolved(), false, time.Time{})
		if a.writes != before {
			t.Fatalf("seed %d: a settled folder causes %d writes", seed, a.writes-before)
		}
	}
}

func (a *fakeAPI) converged(seed uint64, files []File, plan Plan) {
	a.t.Helper()
	want := map[Key]string{}
	for _, f := range files {
		for _, d := range f.Documents {
			data, _ := d.Content["data"].(map[string]any)
			want[d.Key], _ = data["k"].(string)
		}
	}
	is := map[Key]string{}
	for key, o := range a.objects {
		if o.Labels[LabelPartOf] == "set" {
			is[key] = o.value
		}
	}
	if !maps.Equal(is, want) {
		a.t.Fatalf("seed %d: there are %v, wanted %v\n%+v", seed, is, want, plan.Rows)
	}
	for _, row := range plan.Rows {
		if row.State != Applied || row.Error != "" {
			a.t.Fatalf("seed %d: %+v", seed, row)
		}
	}
}

// While a file is wrong, whatever was applied from it stays, also if it is
// moved at the same time.
func TestWrongFilesKeepTheirObjects(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 8))
		a := &fakeAPI{t: t, r: r, objects: map[Key]*fakeObject{}, set: "set"}
		d := &disorder{r: r, files: map[string]string{"a.yaml": fmt.Sprintf("---\n"+namespaceYAML, 1)}}
		for i := range 3 {
			d.files["b.yaml"] += fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: o%d, namespace: n1}\n", i)
		}
		s := a.restarted()
		s.pass(t.Context(), d.resolved(), false, time.Time{})
		broken := []byte(d.files["b.yaml"])
		name := "b.yaml"
		if r.IntN(2) == 0 {
			name = "c.yaml"
			delete(d.files, "b.yaml")
		}
		// One character is lost, or one comes that YAML does not like.
		at := r.IntN(len(broken))
		broken[at] = "{\t]:\x00"[r.IntN(5)]
		d.files[name] = string(broken)
		if r.IntN(2) == 0 {
			s = a.restarted()
		}
		files := d.resolved()
		s.pass(t.Context(), files, false, time.Time{})
		wrong := slices.ContainsFunc(files, func(f File) bool { return f.Path == name && len(f.Problems) > 0 })
		for i := range 3 {
			key := Key{Kind: "ConfigMap", Namespace: "n1", Name: fmt.Sprintf("o%d", i)}
			if wrong && a.objects[key] == nil && !strings.Contains(string(broken[max(0, at-1):min(len(broken), at+2)]), "o") {
				t.Fatalf("seed %d: %s is gone because of\n%s", seed, key, broken)
			}
		}
	}
}
