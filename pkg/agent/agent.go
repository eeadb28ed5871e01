package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/carob-project/carob/pkg/agent/nodestatus"
	"github.com/carob-project/carob/pkg/agent/server"
	"github.com/carob-project/carob/pkg/eviction"
	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/probe"
	"github.com/carob-project/carob/pkg/tracing"
	"github.com/carob-project/carob/pkg/usage"
)

// Options are the parts and settings of an Agent. All parts are required
// unless they say otherwise.
type Options struct {
	Client kubernetes.Interface
	// NodeName is the Node's name; pods with this spec.nodeName are run.
	NodeName string
	// NodeIPs are the addresses of the node, the first its main one.
	NodeIPs []string

	Runtime pod.Runtime
	View    pod.RuntimeView
	Images  pod.Images
	// Credentials is optional: what gives credentials beside the pods' Secrets.
	Credentials Credentials
	Sandboxes   pod.Sandboxes
	SandboxView pod.SandboxView
	Volumes     pod.Volumes
	VolumeView  VolumeView
	// Resizer and Groups change the resources of what runs.
	Resizer Resizer
	Groups  Groups
	// MemoryQoS is that of containers; Groups have that of pods.
	MemoryQoS pod.MemoryQoS
	// Exec executes the commands of probes and hooks; optional: without it
	// they cannot be carried out.
	Exec probe.Execer
	// Meter is optional; without it nobody can be told what pods use.
	Meter Meter
	// Disk is optional; without it no limit of the disk is enforced here.
	Disk DiskMeter
	// Bounds is optional; without it nothing bounds all pods together.
	Bounds   Bounds
	Pressure Pressure
	// ImageStore is optional; with it, and Disk, unused images are collected
	// by ImagePolicy.
	ImageStore  ImageStore
	ImagePolicy eviction.ImagePolicy

	Logs      Logs
	LogReader server.LogReader
	Messages  Messages

	// Inside is optional; with it exec, attach and port-forward are served,
	// and Attacher and Dial are required.
	Inside   pod.Insider
	Attacher Attacher
	Dial     Dialer
	// Init gives every container an init, where its pod does not say otherwise.
	Init bool

	// API is where pods reach the API, HostAPI where those in the node's
	// network do. Both are optional: their containers are then told nothing.
	API, HostAPI netip.AddrPort

	// RuntimeHealth and NetworkHealth are optional; they decide whether the
	// Node is Ready.
	RuntimeHealth, NetworkHealth Health
	// UnlimitedHugePages: this machine cannot limit them by pod, so that none
	// are given.
	UnlimitedHugePages bool
	// Handlers names the runtimes that runtime classes may choose.
	Handlers []string
	// Features tells what the runtime of a handler can do, the empty one being
	// the default; optional.
	Features func(ctx context.Context, handler string) pod.Features
	// Modules are the security modules of the node's kernel.
	Modules pod.SecurityModules
	// RuntimeVersion returns such as containerd://1.6.20; optional.
	RuntimeVersion func(ctx context.Context) (string, error)
	// Collectors are asked, with each garbage collection, to remove what
	// belongs to no wanted pod and shows in none of the lists above.
	Collectors []Collector
	// ImageLister is optional; it fills the Node's list of images.
	ImageLister ImageLister
	// Machine tells what the machine has.
	Machine nodestatus.Source
	// AgentVersion is the Node's kubeletVersion, such as v0.1.0.
	AgentVersion string
	// NodeLabels are put on the Node beside those that every node has.
	NodeLabels map[string]string
	// MaxPods defaults to 500.
	MaxPods int64
	// Heartbeat is how often Node status and Lease are written though nothing
	// changed; default 10 min.
	Heartbeat time.Duration

	// SocketPath is where logs and health are served; empty: nowhere.
	SocketPath string
	Limits     Limits
	// Tracer is optional: without it no spans of pods are made.
	Tracer *tracing.Tracer
	// Recorder is optional, for tests; default: events go to the API.
	Recorder record.EventRecorder
	// Clock defaults to time.Now.
	Clock pod.Clock
	Log   *zap.Logger
}

// Intervals of what an agent does from time to time.
const (
	defaultMaxPods = 500
	// firstList is how long the start waits for the runtime. Afterwards the
	// agent goes on without it: the Node says that it is not ready.
	firstList      = 5 * time.Second
	collectEvery   = 5 * time.Minute
	collectRetry   = 30 * time.Second
	sizeCheckEvery = 10 * time.Second
)

// Agent runs the pods of one node.
type Agent struct {
	o     Options
	log   *zap.Logger
	clock pod.Clock
	rules map[pod.StepKind]stepRule

	view     *view
	copiers  *copiers
	status   *statusWriter
	stages   *stages
	probes   probe.Runner
	node     *nodestatus.Reporter
	identity nodestatus.Identity
	recorder record.EventRecorder
	ready    chan struct{}
	memory   atomic.Int64 // of the machine, in bytes
	history  *usage.History
	// ownNodes holds the node's own object once pods are watched.
	ownNodes cache.Store

	mu          sync.Mutex
	workers     map[types.UID]*worker
	names       map[types.NamespacedName]types.UID // the newest pod of a name
	admitted    map[types.UID]*corev1.Pod
	allocatable corev1.ResourceList
	settled     bool // the pods found at the start have their place
	pressure    []corev1.NodeConditionType
}

// New returns an Agent that does nothing until Run.
func New(o Options) (*Agent, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("agent options: %w", err)
	}
	if o.MaxPods <= 0 {
		o.MaxPods = defaultMaxPods
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Pressure.Transition <= 0 {
		o.Pressure.Transition = defaultTransition
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	o.Limits = o.Limits.withDefaults()
	a := &Agent{
		o: o, log: o.Log, clock: o.Clock, rules: o.Limits.rules(),
		view:    newView(o.View, o.Log),
		copiers: newCopiers(o.Logs, o.Log),
		status:  newStatusWriter(o.Client, o.Log),
		stages:  newStages(o.Tracer),
		identity: nodestatus.Identity{
			Name: o.NodeName, IPs: o.NodeIPs, Labels: o.NodeLabels,
			MaxPods: o.MaxPods, AgentVersion: o.AgentVersion, Handlers: o.Handlers, UnlimitedHugePages: o.UnlimitedHugePages,
			Reserved: o.Pressure.Reserved, Thresholds: o.Pressure.Thresholds,
		},
		recorder: o.Recorder,
		probes:   probe.Runner{Exec: o.Exec, UserAgent: "kube-probe/" + strings.TrimPrefix(o.AgentVersion, "v")},
		ready:    make(chan struct{}),
		history:  usage.NewHistory(),
		workers:  map[types.UID]*worker{},
		names:    map[types.NamespacedName]types.UID{},
		admitted: map[types.UID]*corev1.Pod{},
	}
	a.view.adopt, a.view.changed = a.copiers.adopt, a.runtimeChanged
	a.status.ended = a.runtimeChanged
	a.status.stages = a.stages
	a.node = a.newReporter()
	return a, nil
}

var errMissing = errors.New("is missing")

func (o Options) check() error {
	var errs []error
	for _, f := range []struct {
		name string
		have bool
	}{
		{"Client", o.Client != nil}, {"NodeName", o.NodeName != ""},
		{"Runtime", o.Runtime != nil}, {"View", o.View != nil}, {"Images", o.Images != nil},
		{"Sandboxes", o.Sandboxes != nil}, {"SandboxView", o.SandboxView != nil},
		{"Volumes", o.Volumes != nil}, {"VolumeView", o.VolumeView != nil},
		{"Logs", o.Logs != nil}, {"LogReader", o.LogReader != nil}, {"Messages", o.Messages != nil},
		{"Machine", o.Machine != nil}, {"Resizer", o.Resizer != nil}, {"Groups", o.Groups != nil},
		{"Attacher", o.Inside == nil || o.Attacher != nil}, {"Dial", o.Inside == nil || o.Dial != nil},
	} {
		if !f.have {
			errs = append(errs, fmt.Errorf("%s %w", f.name, errMissing))
		}
	}
	return errors.Join(errs...)
}

// Ready is closed when the Node is registered and every pod that was bound to
// it at the start has its worker.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Run works until ctx ends and then leaves the containers running. It returns
// an error only where the agent could not start.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if a.o.SocketPath != "" {
		l, err := server.Listen(a.o.SocketPath)
		if err != nil {
			return fmt.Errorf("agent: %w", err)
		}
		wg.Go(func() { a.serve(ctx, l) })
	}
	if a.recorder == nil {
		a.recorder = newRecorder(ctx, a.o.Client, a.o.NodeName)
	}
	// The logs of running containers are taken up with the first list, and
	// nothing else may come before that.
	wg.Go(func() { a.view.run(ctx) })
	a.view.awaitList(ctx, firstList)

	wg.Go(func() { a.status.run(ctx) })
	wg.Go(func() { _ = a.node.Run(ctx) }) // it only ends with ctx
	for _, watch := range []func(context.Context, *sync.WaitGroup) error{a.watchSources, a.watchPods} {
		if err := watch(ctx, &wg); err != nil {
			return fmt.Errorf("agent: %w", err)
		}
	}
	wg.Go(func() { a.collectGarbage(ctx) })
	if a.o.Meter != nil {
		wg.Go(func() { a.keepReadings(ctx) })
	}
	if a.o.Disk != nil {
		wg.Go(func() { a.enforceLimits(ctx) })
	}
	if len(a.o.Pressure.Thresholds) > 0 {
		wg.Go(func() { a.watchPressure(ctx) })
	}
	if a.o.ImageStore != nil && a.o.Disk != nil {
		wg.Go(func() { a.collectImages(ctx) })
	}
	select {
	case <-a.node.Registered():
		close(a.ready)
		a.log.Info("the agent is ready", zap.String("node", a.o.NodeName))
	case <-ctx.Done():
	}
	<-ctx.Done()
	return nil
}

func (a *Agent) newReporter() *nodestatus.Reporter {
	o := nodestatus.Options{
		Client: a.o.Client, Identity: a.identity, Source: learning{a},
		RuntimeVersion: a.o.RuntimeVersion, Heartbeat: a.o.Heartbeat, Features: a.handlerFeatures,
		Pressure: a.underPressure, Event: a.nodeEvent,
		Clock: a.o.Clock, Log: a.o.Log,
	}
	if h := a.o.RuntimeHealth; h != nil {
		o.Checks = append(o.Checks, nodestatus.Check{Reason: nodestatus.ReasonRuntimeNotReady, Run: h.Check})
	}
	if h := a.o.NetworkHealth; h != nil {
		o.Checks = append(o.Checks, nodestatus.Check{Reason: nodestatus.ReasonNetworkNotReady, Run: h.Check})
	}
	if l := a.o.ImageLister; l != nil {
		o.Images = func(ctx context.Context) ([]corev1.ContainerImage, error) {
			images, err := l.ListImages(ctx)
			return nodeImages(images), err
		}
	}
	return nodestatus.New(o)
}

// pulled tells the Node's reporter that there is a new image.
func (a *Agent) pulled() {
	if a.o.ImageLister != nil {
		a.node.Poke()
	}
}

// runtimeChanged wakes the workers whose attempts changed.
func (a *Agent) runtimeChanged(uid types.UID) {
	if uid != "" {
		if w := a.worker(uid); w != nil {
			w.poke()
		}
		return
	}
	for _, w := range a.allWorkers() {
		w.partsBack()
	}
}

func (a *Agent) worker(uid types.UID) *worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.workers[uid]
}

func (a *Agent) allWorkers() []*worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]*worker, 0, len(a.workers))
	for _, w := range a.workers {
		out = append(out, w)
	}
	return out
}

// Allocatable returns what pods may use of the node, nil until it is known.
// The caller must not change it.
func (a *Agent) Allocatable() corev1.ResourceList {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.allocatable
}

// allocatableMemory is that in bytes; 0 where it is not known.
func (a *Agent) allocatableMemory() int64 {
	q := a.Allocatable()[corev1.ResourceMemory]
	return q.Value()
}
