package nodestatus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Check is one thing that has to work before pods can run.
type Check struct {
	// Reason is the Ready condition's reason while the check fails.
	Reason string
	// Run returns nil, or an error whose text becomes the message.
	Run func(ctx context.Context) error
}

// Options of a Reporter. Client, Identity.Name and Source are required.
type Options struct {
	Client   kubernetes.Interface
	Identity Identity
	Source   Source
	Checks   []Check
	// RuntimeVersion returns such as containerd://1.6.20; it may be nil.
	RuntimeVersion func(ctx context.Context) (string, error)
	// Features tells what a runtime can do, the nameless one too; it may be
	// nil.
	Features func(ctx context.Context, handler string) *corev1.NodeRuntimeHandlerFeatures
	// Images lists the images for the status, sorted; it may be nil.
	Images func(ctx context.Context) ([]corev1.ContainerImage, error)
	// Pressure tells what the node runs short of; it may be nil.
	Pressure func() []corev1.NodeConditionType
	// Event records an event about the node; it may be nil.
	Event func(kind, reason, message string)
	// Interval is how often the machine is read; default 10 s.
	Interval time.Duration
	// Heartbeat is how often status and lease are written when nothing has
	// changed; default 10 min, as nobody else watches the only node, and each
	// beat costs the disk some 64 KiB. The lease is valid for four of them.
	Heartbeat time.Duration
	// Clock defaults to time.Now.
	Clock func() time.Time
	Log   *zap.Logger
}

// checkTime bounds one reading, callTime one call to the API.
const (
	checkTime = 5 * time.Second
	callTime  = 10 * time.Second
)

// Reporter writes one Node and its Lease.
type Reporter struct {
	o    Options
	poke chan struct{}
	// wrote tells the lease's keeper that a status has been written.
	wrote chan struct{}

	registered     chan struct{}
	registeredOnce sync.Once

	// The rest belongs to Run's goroutine.
	node      *corev1.Node // as the API last answered
	written   time.Time
	images    []corev1.ContainerImage
	listed    time.Time
	lastFacts *Facts
	healthy   bool
}

// New returns a Reporter that does nothing until Run.
func New(o Options) *Reporter {
	if o.Interval <= 0 {
		o.Interval = 10 * time.Second
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = 10 * time.Minute
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Reporter{
		o: o, poke: make(chan struct{}, 1), wrote: make(chan struct{}, 1), registered: make(chan struct{}), healthy: true,
	}
}

// Registered is closed when the Node is in the API with its first status.
func (r *Reporter) Registered() <-chan struct{} { return r.registered }

// Poke makes the Reporter look again at once, images included.
func (r *Reporter) Poke() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// Run reports until ctx ends. It returns nil then.
func (r *Reporter) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { r.renewLease(ctx) })
	defer wg.Wait()
	retry := time.Second
	for {
		wait := r.o.Interval
		if err := r.report(ctx); err != nil && ctx.Err() == nil {
			r.o.Log.Warn("the node's status cannot be reported", zap.Error(err), zap.Duration("retry", retry))
			wait = retry
			retry = min(2*retry, r.o.Interval)
		} else {
			retry = time.Second
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-r.poke:
			t.Stop()
			r.listed = time.Time{}
		case <-t.C:
		}
	}
}

// report reads the machine and writes the Node if it has to.
func (r *Reporter) report(ctx context.Context) error {
	reading, hostname, err := r.read(ctx)
	if err != nil {
		return err
	}
	now := r.o.Clock()
	if r.node != nil && now.Sub(r.written) < r.o.Heartbeat {
		want := r.o.Identity.Status(r.node.Status, reading, metav1.NewTime(now))
		if sameStatus(want, r.node.Status) {
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	n, err := r.ensure(ctx, hostname)
	if err != nil {
		return err
	}
	n = n.DeepCopy()
	old := n.Status.Conditions
	n.Status = r.o.Identity.Status(n.Status, reading, metav1.NewTime(now))
	n, err = r.o.Client.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("writing the node's status: %w", err)
	}
	r.node, r.written = n, now
	select {
	case r.wrote <- struct{}{}:
	default:
	}
	if r.o.Event != nil {
		for _, reason := range changes(old, n.Status.Conditions) {
			r.o.Event(corev1.EventTypeNormal, reason, fmt.Sprintf("Node %s status is now: %s", n.Name, reason))
		}
	}
	r.registeredOnce.Do(func() { close(r.registered) })
	return nil
}

// ensure returns the Node as the API has it now, made or labelled if needed.
func (r *Reporter) ensure(ctx context.Context, hostname string) (*corev1.Node, error) {
	nodes := r.o.Client.CoreV1().Nodes()
	have, err := nodes.Get(ctx, r.o.Identity.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		n, err := nodes.Create(ctx, r.o.Identity.WithObject(&corev1.Node{}, hostname), metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("registering the node: %w", err)
		}
		r.o.Log.Info("registered the node", zap.String("node", n.Name))
		return n, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the node: %w", err)
	}
	want := r.o.Identity.WithObject(have, hostname)
	if equality.Semantic.DeepEqual(want.Labels, have.Labels) {
		return have, nil
	}
	n, err := nodes.Update(ctx, want, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("labelling the node: %w", err)
	}
	return n, nil
}

// read makes a Reading. A machine that cannot be read any more keeps its last
// facts; checks that fail are part of the Reading and no error.
func (r *Reporter) read(ctx context.Context) (Reading, string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	f, err := r.o.Source.Facts(ctx)
	switch {
	case err == nil:
		r.lastFacts = &f
	case r.lastFacts == nil:
		return Reading{}, "", fmt.Errorf("reading the machine: %w", err)
	default:
		r.o.Log.Warn("the machine cannot be read", zap.Error(err))
		f = *r.lastFacts
	}
	out := Reading{Facts: f, Problems: r.check(ctx)}
	if r.o.Pressure != nil {
		out.Pressure = r.o.Pressure()
	}
	if r.o.RuntimeVersion != nil && len(out.Problems) == 0 {
		// A runtime that does not tell its version keeps the last one.
		out.RuntimeVersion, _ = r.o.RuntimeVersion(ctx)
	}
	out.Images = r.listImages(ctx)
	out.Features = r.features(ctx)
	hostname := f.Hostname
	if hostname == "" {
		hostname = r.o.Identity.Name
	}
	return out, hostname, nil
}

// features asks what the runtimes can do.
func (r *Reporter) features(ctx context.Context) map[string]*corev1.NodeRuntimeHandlerFeatures {
	if r.o.Features == nil {
		return nil
	}
	all := map[string]*corev1.NodeRuntimeHandlerFeatures{"": r.o.Features(ctx, "")}
	for _, name := range r.o.Identity.Handlers {
		all[name] = r.o.Features(ctx, name)
	}
	return all
}

func (r *Reporter) check(ctx context.Context) []Problem {
	var out []Problem
	for _, c := range r.o.Checks {
		if err := c.Run(ctx); err != nil {
			out = append(out, Problem{Reason: c.Reason, Message: err.Error()})
		}
	}
	if healthy := len(out) == 0; healthy != r.healthy {
		r.healthy = healthy
		if healthy {
			r.o.Log.Info("the node is ready again")
		} else {
			r.o.Log.Warn("the node is not ready", zap.String("reason", out[0].Reason), zap.String("message", out[0].Message))
		}
	}
	return out
}

// listImages lists anew after a Poke and once a heartbeat.
func (r *Reporter) listImages(ctx context.Context) []corev1.ContainerImage {
	now := r.o.Clock()
	if r.o.Images == nil || (!r.listed.IsZero() && now.Sub(r.listed) < r.o.Heartbeat) {
		return r.images
	}
	images, err := r.o.Images(ctx)
	if err != nil {
		return r.images
	}
	r.images, r.listed = images, now
	return images
}
