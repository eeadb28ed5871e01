package folder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/carob-project/carob/pkg/controller/resources"
)

const (
	retryLeast = time.Second
	retryMost  = 5 * time.Minute
	// forgive is how long an object has to be left alone until it is brought
	// back at once again.
	forgive = 10 * time.Minute
)

func backoff(failures int) time.Duration { return min(retryLeast<<min(failures, 20), retryMost) }

// Did is a write that was made.
type Did struct {
	Key
	File string
	// Pruned: it was deleted. Back: others had changed it, and it was brought
	// back. Else it was applied.
	Pruned, Back bool
}

// session carries out what is decided about one set, and remembers how it went.
type session struct {
	cluster Cluster
	set     string
	served  resources.Set

	mu      sync.Mutex
	members map[Key]Member

	attempts map[Key]Attempt
	applied  map[Key]time.Time
}

func newSession(c Cluster, set string) *session {
	return &session{cluster: c, set: set, members: map[Key]Member{}, attempts: map[Key]Attempt{}, applied: map[Key]time.Time{}}
}

// see takes note of a member as the API has it; false: it was known already, or
// something newer.
func (s *session) see(r resources.Resource, o *metav1.PartialObjectMetadata) bool {
	m := memberOf(r, o)
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, ok := s.members[m.Key]; ok && was.UID == m.UID {
		if c, err := resourceversion.CompareResourceVersion(m.ResourceVersion, was.ResourceVersion); err == nil && c < 0 {
			return false
		}
		s.members[m.Key] = m
		return was.File != m.File || was.Hash != m.Hash || was.RolledBack != m.RolledBack || was.Owned != m.Owned || was.Deleting != m.Deleting
	}
	s.members[m.Key] = m
	return true
}

// lose takes note of the end of a member.
func (s *session) lose(r resources.Resource, o *metav1.PartialObjectMetadata) bool {
	m := memberOf(r, o)
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, ok := s.members[m.Key]; !ok || was.UID != m.UID {
		return false
	}
	delete(s.members, m.Key)
	return true
}

func (s *session) known() map[Key]Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.members)
}

// pass decides and acts until nothing is due. What it decided last is returned,
// and what was done on the way.
func (s *session) pass(ctx context.Context, files []File, blind bool, pruneFrom time.Time) (Plan, []Did) {
	var all []Did
	for {
		plan := Decide(Input{
			Files: files, Members: s.known(), Attempts: s.attempts, Blind: blind, PruneFrom: pruneFrom, Now: time.Now(),
		})
		if len(plan.Apply)+len(plan.Prune) == 0 || ctx.Err() != nil {
			return plan, all
		}
		did := append(s.apply(ctx, plan.Apply), s.prune(ctx, plan.Prune)...)
		if len(did) > 0 {
			s.hope()
		}
		all = append(all, did...)
	}
}

// hope lets all that waits for something be tried again: something has changed.
func (s *session) hope() {
	for key, a := range s.attempts {
		if !a.ok() && !a.Refused {
			a.After = time.Time{}
			s.attempts[key] = a
		}
	}
}

// forget drops what was refused, or waits, about an object that has changed.
func (s *session) forget(key Key) {
	if a, ok := s.attempts[key]; ok && !a.ok() {
		delete(s.attempts, key)
	}
}

// try is a document on its way.
type try struct {
	d *Document
	// force: it is a member. back: it was applied before just like this.
	force, back bool
}

// apply tries the documents, those of a file only if none of them is refused,
// and returns those that were written.
func (s *session) apply(ctx context.Context, documents []*Document) []Did {
	var ready []try
	bad := map[string]bool{}
	for _, d := range documents {
		t, err := s.prepare(ctx, d)
		if err == nil && !t.back {
			_, err = s.cluster.Apply(ctx, d, s.set, t.force, true)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.failed(d, err)
			bad[d.File] = bad[d.File] || s.attempts[d.Key].Refused
			continue
		}
		ready = append(ready, t)
	}
	slices.SortStableFunc(ready, func(a, b try) int { return cmp.Compare(rank(a.d.Key), rank(b.d.Key)) })
	var did []Did
	for _, t := range ready {
		if bad[t.d.File] {
			continue
		}
		before, existed := s.known()[t.d.Key]
		is, err := s.cluster.Apply(ctx, t.d, s.set, t.force, false)
		switch {
		case ctx.Err() != nil:
			return did
		case err != nil:
			s.failed(t.d, err)
			continue
		}
		s.succeeded(t, is)
		if !existed || before.ResourceVersion != is.ResourceVersion {
			did = append(did, Did{Key: t.d.Key, File: t.d.File, Back: t.back})
		}
	}
	return did
}

// errTaken: the object is somebody else's. errLeaving: it is being deleted.
var (
	errTaken   = errors.New("exists, and the folder has not made it")
	errLeaving = errors.New("the object is being deleted")
)

// prepare finds out whose the object is.
func (s *session) prepare(ctx context.Context, d *Document) (try, error) {
	t := try{d: d}
	_, ok := s.known()[d.Key]
	if a, tried := s.attempts[d.Key]; tried && a.ok() && a.Hash == d.Hash && a.File == d.File {
		t.back = true
	}
	if ok {
		t.force = true
		return t, nil
	}
	o, err := s.cluster.Look(ctx, d.Resource, d.Key)
	switch {
	case apierrors.IsNotFound(err):
		return t, nil
	case err != nil:
		return t, err
	case o.DeletionTimestamp != nil:
		return t, errLeaving
	}
	of := o.Labels[LabelPartOf]
	if of == s.set || of == "" && owned(o) != "" || of == "" && d.Adopt {
		t.force = true
		return t, nil
	}
	if of != "" {
		return t, fmt.Errorf("%w: it belongs to the set %s", errTaken, of)
	}
	return t, fmt.Errorf("%w (managers: %s); delete it, or take it over with the annotation %s: \"true\" in the file",
		errTaken, managers(o), AnnotationAdopt)
}

func managers(o metav1.Object) string {
	var names []string
	for _, m := range o.GetManagedFields() {
		if m.Subresource == "" && !slices.Contains(names, m.Manager) {
			names = append(names, m.Manager)
		}
	}
	if len(names) == 0 {
		return "unknown"
	}
	return strings.Join(names, ", ")
}

func (s *session) failed(d *Document, err error) {
	a := s.attempts[d.Key]
	if a.Hash != d.Hash || a.File != d.File || a.ok() {
		a = Attempt{Hash: d.Hash, File: d.File}
	}
	a.Problems = problems(d, err)
	if !errors.Is(err, errTaken) && refused(err) {
		a.Refused, a.After = true, time.Time{}
		s.attempts[d.Key] = a
		return
	}
	a.Refused = errors.Is(err, errTaken)
	a.After = time.Now().Add(backoff(a.Failures))
	a.Failures++
	s.attempts[d.Key] = a
}

// succeeded remembers how the object was left, and when it may be brought back:
// the first time at once, then later and later.
func (s *session) succeeded(t try, is *metav1.PartialObjectMetadata) {
	d, now := t.d, time.Now()
	a := Attempt{Hash: d.Hash, File: d.File, Owned: owned(is)}
	if t.back && now.Sub(s.applied[d.Key]) < forgive {
		a.Failures = s.attempts[d.Key].Failures + 1
		a.After = now.Add(backoff(a.Failures - 1))
	}
	s.attempts[d.Key], s.applied[d.Key] = a, now
	s.see(d.Resource, is)
}

// prune deletes members, those that others may need last.
func (s *session) prune(ctx context.Context, members []Member) []Did {
	slices.SortStableFunc(members, func(a, b Member) int { return cmp.Compare(rank(b.Key), rank(a.Key)) })
	var did []Did
	for _, m := range members {
		err := s.vacate(ctx, m)
		if err == nil {
			err = s.cluster.Delete(ctx, m)
		}
		switch {
		case ctx.Err() != nil:
			return did
		case err == nil:
			did = append(did, Did{Key: m.Key, File: m.File, Pruned: true})
			s.leave(m)
		case apierrors.IsNotFound(err):
			s.mu.Lock()
			delete(s.members, m.Key)
			s.mu.Unlock()
		default:
			a := s.attempts[m.Key]
			if a.Hash != "" {
				a = Attempt{}
			}
			a.Problems = []Problem{{File: m.File, Message: err.Error()}}
			a.After = time.Now().Add(backoff(a.Failures))
			a.Failures++
			s.attempts[m.Key] = a
			continue
		}
		delete(s.attempts, m.Key)
	}
	return did
}

// leave marks a member that is on its way out.
func (s *session) leave(m Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if is, ok := s.members[m.Key]; ok && is.UID == m.UID {
		is.Deleting = true
		s.members[m.Key] = is
	}
}

// errNotAlone: a namespace has objects of others, which would go with it.
var errNotAlone = errors.New("others have objects in the namespace")

// vacate keeps a namespace in which somebody else has something.
func (s *session) vacate(ctx context.Context, m Member) error {
	if m.Group != "" || m.Kind != "Namespace" {
		return nil
	}
	var others []string
	for _, r := range s.served.Preferred() {
		if !r.Namespaced || !r.Can("list", "delete") || volatile(r) {
			continue
		}
		all, err := s.cluster.List(ctx, r, m.Name, "")
		if err != nil {
			return err
		}
		for i := range all {
			if o := &all[i]; s.foreign(r, o) {
				others = append(others, r.Kind+" "+o.Name)
			}
		}
	}
	if len(others) == 0 {
		return nil
	}
	slices.Sort(others)
	if more := len(others) - 5; more > 0 {
		others = append(others[:5], fmt.Sprintf("%d more", more))
	}
	return fmt.Errorf("%w: %s; it goes when they have gone", errNotAlone, strings.Join(others, ", "))
}

func volatile(r resources.Resource) bool {
	return slices.Contains(resources.DefaultIgnored(), r.GVR.GroupResource()) || strings.HasPrefix(r.GVR.Group, "metrics.")
}

// foreign says whether an object is neither the folder's, nor made for another
// object, nor in every namespace.
func (s *session) foreign(r resources.Resource, o *metav1.PartialObjectMetadata) bool {
	switch {
	case o.Labels[LabelPartOf] == s.set, len(o.OwnerReferences) > 0, o.DeletionTimestamp != nil,
		r.Kind == "ServiceAccount" && o.Name == "default", r.Kind == "ConfigMap" && o.Name == "kube-root-ca.crt":
		return false
	}
	return true
}
