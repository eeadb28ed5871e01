package folder

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// settle is how long the folder has to be left alone before anything is pruned:
// an object may be on its way from one file to another.
const settle = time.Second

// Source is a folder.
type Source interface {
	// Read returns what it says now, and sees to it that Changed tells of what
	// changes after that.
	Read() Snapshot
	Changed() <-chan struct{}
}

// Options are what a Controller needs.
type Options struct {
	// Dir is the absolute path of the folder.
	Dir string
	// Source is the folder; nil: the one at Dir.
	Source  Source
	Client  kubernetes.Interface
	Cluster Cluster
	// Tool is who keeps the folder, such as carob/v1.2.3.
	Tool string
	// Tell, if not nil, is told what people should see: a type and reason as
	// events have them.
	Tell func(eventType, reason, message string)
	// Log may be nil.
	Log *zap.Logger
}

// Controller keeps a folder applied.
type Controller struct {
	o       Options
	ready   chan struct{}
	bell    *bell
	record  *record
	session *session
	follows map[schema.GroupVersionResource]func()
	// last are the problems that were told of, by file.
	last map[string]string
	// unknown: a kind is not served; what is served is asked again after a while,
	// which gets longer with each of asked.
	unknown  bool
	asked    int
	failures int
}

// New makes a Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Cluster == nil || !filepath.IsAbs(o.Dir) {
		return nil, errors.New("folder: no client, or no absolute path")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Tell == nil {
		o.Tell = func(string, string, string) {}
	}
	return &Controller{
		o: o, ready: make(chan struct{}), bell: &bell{keys: map[Key]bool{}, c: make(chan struct{}, 1)},
		follows: map[schema.GroupVersionResource]func(){}, last: map[string]string{},
	}, nil
}

// Ready is closed when the folder has been read and is watched.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

// Run works until ctx ends. A folder that is wrong, or missing, is told of and
// is no failure.
func (c *Controller) Run(ctx context.Context) error {
	source := c.o.Source
	if source == nil {
		disk, err := newDisk(ctx, c.o.Dir, c.o.Log)
		if err != nil {
			return err
		}
		defer disk.watch.Wait()
		source = disk
	}
	snapshot := source.Read()
	close(c.ready)
	c.warnOpen(snapshot)
	defer func() {
		for _, wait := range c.follows {
			wait()
		}
	}()
	// What was there at the start had time enough.
	pruneFrom := time.Now()
	for {
		after, err := c.turn(ctx, snapshot, pruneFrom)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			c.o.Log.Warn("will be tried again", zap.Error(err))
			after = backoff(c.failures)
			c.failures++
		} else {
			c.failures = 0
		}
		var timer <-chan time.Time
		if after > 0 {
			timer = time.After(after)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer:
		case <-c.bell.c:
			c.noted()
		case <-source.Changed():
			if now := source.Read(); !sameFiles(now, snapshot) {
				snapshot, pruneFrom, c.asked = now, time.Now().Add(settle), 0
				c.warnOpen(snapshot)
			}
		}
	}
}

// noted takes note of what has changed in the API.
func (c *Controller) noted() {
	for key := range c.bell.take() {
		if key == (Key{}) {
			c.session.hope()
		} else {
			c.session.forget(key)
		}
	}
}

// bell collects the objects that have changed; the zero key is any namespace.
type bell struct {
	mu   sync.Mutex
	keys map[Key]bool
	c    chan struct{}
}

func (b *bell) ring(key Key) {
	b.mu.Lock()
	b.keys[key] = true
	b.mu.Unlock()
	select {
	case b.c <- struct{}{}:
	default:
	}
}

func (b *bell) take() map[Key]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	keys := b.keys
	b.keys = map[Key]bool{}
	return keys
}

func sameFiles(a, b Snapshot) bool {
	if (a.Problem == nil) != (b.Problem == nil) || len(a.Files) != len(b.Files) {
		return false
	}
	for i := range a.Files {
		x, y := a.Files[i], b.Files[i]
		if x.Path != y.Path || x.Unknown != y.Unknown || a.raw[x.Path].sum != b.raw[y.Path].sum || !slices.Equal(x.Problems, y.Problems) {
			return false
		}
	}
	return true
}

func (c *Controller) warnOpen(s Snapshot) {
	if s.Open != "" {
		c.o.Log.Warn("anybody on this machine may write to a manifest, and so run what they like", zap.String("file", s.Open))
	}
}

// turn brings the API in line with the folder once.
func (c *Controller) turn(ctx context.Context, snapshot Snapshot, pruneFrom time.Time) (time.Duration, error) {
	if c.session == nil {
		if err := c.begin(ctx); err != nil {
			return 0, err
		}
	}
	if err := c.discover(); err != nil {
		return 0, err
	}
	files, complete := Resolve(snapshot.Files, c.session.served, DefaultNamespace)
	kinds := maps.Clone(c.record.groupKinds)
	addKinds(kinds, files)
	// A member's kind is written down before there is such a member.
	if err := c.record.write(ctx, kinds, nil); err != nil {
		return 0, err
	}
	if err := c.follow(ctx, kinds); err != nil {
		return 0, err
	}
	plan, did := c.session.pass(ctx, files, snapshot.Problem != nil, pruneFrom)
	if ctx.Err() != nil {
		return 0, nil
	}
	if snapshot.Problem != nil {
		plan.Rows = append([]Row{{File: snapshot.Problem.File, State: Wrong, Error: snapshot.Problem.Message}}, plan.Rows...)
	}
	c.tell(plan.Rows, did)
	if c.unknown = !complete; c.unknown {
		if len(did) > 0 {
			c.asked = 0 // such as the definition of that kind
		}
		plan.After = workload.Sooner(plan.After, backoff(c.asked))
		c.asked++
	}
	return plan.After, c.record.write(ctx, c.kinds(files), &Report{Set: c.record.name, Folder: c.o.Dir, Rows: plan.Rows})
}

// openSet finds the set of a folder, and of which kinds its members may be. keeps
// says that the folder is kept applied, not applied once.
func openSet(ctx context.Context, client kubernetes.Interface, cluster Cluster, dir, tool string, keeps bool) (*record, *session, error) {
	reports, err := Reports(ctx, client)
	if err != nil {
		return nil, nil, err
	}
	r := &record{client: client, name: nameFor(reports, dir, keeps), dir: dir, tool: tool}
	s := newSession(cluster, SetID(r.name))
	if s.served, err = cluster.Served(); err != nil && len(s.served.Preferred()) == 0 {
		return nil, nil, err
	}
	found, err := r.open(ctx)
	if err == nil && !found {
		r.groupKinds, err = search(ctx, s)
	}
	return r, s, err
}

// begin finds the set of the folder and its members.
func (c *Controller) begin(ctx context.Context) error {
	r, s, err := openSet(ctx, c.o.Client, c.o.Cluster, c.o.Dir, c.o.Tool, true)
	if err != nil {
		return err
	}
	if ns, ok := s.served.ForKind("v1", "Namespace"); ok {
		// Much waits for namespaces.
		touch := func(*metav1.PartialObjectMetadata) { c.bell.ring(Key{}) }
		wait, err := c.o.Cluster.Follow(ctx, ns, "", touch, touch)
		if err != nil {
			return err
		}
		c.follows[schema.GroupVersionResource{}] = wait
	}
	c.session, c.record = s, r
	return nil
}

// search looks for members of all kinds: the record is lost, or was never there.
func search(ctx context.Context, s *session) (map[schema.GroupKind]bool, error) {
	kinds := map[schema.GroupKind]bool{}
	for _, r := range s.served.Preferred() {
		if !r.Can("list", "watch", "patch", "delete") || volatile(r) {
			continue
		}
		all, err := s.cluster.List(ctx, r, "", s.set)
		if err != nil {
			return nil, err
		}
		if len(all) > 0 {
			kinds[schema.GroupKind{Group: r.GVR.Group, Kind: r.Kind}] = true
		}
	}
	return kinds, nil
}

// discover asks what is served, where a kind was unknown the last time.
func (c *Controller) discover() error {
	if !c.unknown {
		return nil
	}
	served, err := c.o.Cluster.Served()
	if err != nil && len(served.Preferred()) == 0 {
		return err
	}
	c.session.served = served
	return nil
}

// follow watches the members of these kinds.
func (c *Controller) follow(ctx context.Context, kinds map[schema.GroupKind]bool) error {
	for gk := range kinds {
		r, ok := c.session.served.ForGroupKind(gk)
		if !ok || c.follows[r.GVR] != nil {
			continue
		}
		wait, err := c.o.Cluster.Follow(ctx, r, c.session.set,
			func(o *metav1.PartialObjectMetadata) {
				if c.session.see(r, o) {
					c.bell.ring(memberOf(r, o).Key)
				}
			},
			func(o *metav1.PartialObjectMetadata) {
				if c.session.lose(r, o) {
					c.bell.ring(memberOf(r, o).Key)
				}
			})
		if err != nil {
			return err
		}
		c.follows[r.GVR] = wait
	}
	return nil
}

// addKinds adds those of the documents.
func addKinds(kinds map[schema.GroupKind]bool, files []File) {
	for _, f := range files {
		for _, d := range f.Documents {
			if d.Resource.Kind != "" {
				kinds[schema.GroupKind{Group: d.Group, Kind: d.Kind}] = true
			}
		}
	}
}

// kinds are those of the documents and of the members that there are.
func (c *Controller) kinds(files []File) map[schema.GroupKind]bool {
	out := map[schema.GroupKind]bool{}
	for key := range c.session.known() {
		out[schema.GroupKind{Group: key.Group, Kind: key.Kind}] = true
	}
	addKinds(out, files)
	for gk := range c.record.groupKinds {
		if _, served := c.session.served.ForGroupKind(gk); !served {
			out[gk] = true
		}
	}
	return out
}

// maxMessage bounds the message of an event.
const maxMessage = 1000

// tell says what is new: what was done, and what is wrong that was not before.
func (c *Controller) tell(rows []Row, did []Did) {
	for _, kind := range []struct {
		reason, verb string
		is           func(Did) bool
	}{
		{"ManifestApplied", "Applied", func(d Did) bool { return !d.Pruned && !d.Back }},
		{"ManifestRestored", "Brought back what others had changed:", func(d Did) bool { return d.Back }},
		{"ManifestPruned", "Deleted what is in no file any more:", func(d Did) bool { return d.Pruned }},
	} {
		var names []string
		for _, d := range did {
			if kind.is(d) {
				names = append(names, fmt.Sprintf("%s (%s)", d.Key, d.File))
			}
		}
		if len(names) > 0 {
			c.o.Tell(corev1.EventTypeNormal, kind.reason, short(kind.verb+" "+strings.Join(names, ", ")))
		}
	}
	now := map[string]string{}
	for _, r := range rows {
		if r.Error != "" && r.State != Pruning {
			now[r.File] += Problem{File: r.File, Line: r.Line, Field: r.Field, Message: r.Error}.Error() + "\n"
		}
	}
	for _, file := range slices.Sorted(maps.Keys(now)) {
		if text := now[file]; text != c.last[file] {
			c.o.Tell(corev1.EventTypeWarning, "ManifestWrong", short(strings.TrimSpace(text)))
			c.o.Log.Warn("manifest", zap.String("file", file), zap.String("problem", strings.TrimSpace(text)))
		}
	}
	c.last = now
}

func short(text string) string {
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage], "") + " ..."
}

// disk is a folder in the file system.
type disk struct {
	dir   string
	watch *Watch
	log   *zap.Logger
	last  Snapshot
}

func newDisk(ctx context.Context, dir string, log *zap.Logger) (*disk, error) {
	w, err := NewWatch(ctx)
	if err != nil {
		return nil, err
	}
	return &disk{dir: dir, watch: w, log: log}, nil
}

// Changed implements Source.
func (d *disk) Changed() <-chan struct{} { return d.watch.Changed }

// Read implements Source. What has changed in a directory before it was watched
// is seen by reading once more.
func (d *disk) Read() Snapshot {
	for {
		d.last = Read(d.dir, d.last)
		added, err := d.watch.Set(d.last.Dirs)
		if err != nil {
			d.log.Warn("changes of the folder may be missed", zap.Error(err))
			return d.last
		}
		if !added {
			return d.last
		}
	}
}
