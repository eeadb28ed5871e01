// Package manager wires the controllers of a carob process together: one set
// of informers, one set of monitors, one event recorder. It must not know what
// a controller does.
package manager

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"

	"golang.org/x/sync/errgroup"

	"github.com/carob-project/carob/pkg/controller/garbage"
	"github.com/carob-project/carob/pkg/controller/namespace"
	"github.com/carob-project/carob/pkg/controller/nodetaint"
	"github.com/carob-project/carob/pkg/controller/podgc"
	"github.com/carob-project/carob/pkg/controller/resourcequota"
	"github.com/carob-project/carob/pkg/controller/resources"
	"github.com/carob-project/carob/pkg/controller/serviceaccount"
)

// component is the source of the controllers' events.
const component = "carob-controllers"

// Options are what a Manager needs.
type Options struct {
	// Client and Metadata reach the same API server. Their rate limits
	// should be off.
	Client   kubernetes.Interface
	Metadata metadata.Interface
	// Informers may be nil: then the Manager makes and runs its own. A given
	// one has to be started by the caller after New.
	Informers informers.SharedInformerFactory
	// RootCA is the certificate of the authority behind the API, in PEM.
	RootCA []byte
	// TerminatedPodThreshold is how many terminated pods are kept: 0 means
	// the default, less than 0 all.
	TerminatedPodThreshold int
	// Log may be nil.
	Log *zap.Logger
}

// controller is one loop.
type controller interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
}

// Manager runs all controllers.
type Manager struct {
	log      *zap.Logger
	own      informers.SharedInformerFactory
	events   record.EventBroadcaster
	client   kubernetes.Interface
	loops    map[string]controller
	monitors *resources.Monitors
	ready    chan struct{}
}

// New makes a Manager; Run starts it.
func New(o Options) (*Manager, error) {
	if o.Client == nil || o.Metadata == nil {
		return nil, errors.New("controllers: no client")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	m := &Manager{log: o.Log, client: o.Client, ready: make(chan struct{})}
	if o.Informers == nil {
		m.own = informers.NewSharedInformerFactoryWithOptions(o.Client, 0, informers.WithTransform(dropManagedFields))
		o.Informers = m.own
	}
	m.monitors = resources.NewMonitors(resources.Options{
		Discovery: o.Client.Discovery(), Metadata: o.Metadata, Log: o.Log.Named("monitors"),
	})
	m.events = record.NewBroadcaster()
	if err := m.build(o); err != nil {
		m.events.Shutdown()
		return nil, err
	}
	return m, nil
}

// build makes the controllers.
func (m *Manager) build(o Options) error {
	gc, err := garbage.New(garbage.Options{
		Metadata: o.Metadata, Monitors: m.monitors, Log: o.Log.Named("garbage"),
		Recorder: m.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component}),
	})
	if err != nil {
		return err
	}
	ns, err := namespace.New(namespace.Options{
		Client: o.Client, Metadata: o.Metadata, Informers: o.Informers, Monitors: m.monitors, Log: o.Log.Named("namespace"),
	})
	if err != nil {
		return err
	}
	sa, err := serviceaccount.New(serviceaccount.Options{
		Client: o.Client, Informers: o.Informers, RootCA: o.RootCA, Log: o.Log.Named("serviceaccount"),
	})
	if err != nil {
		return err
	}
	pods, err := podgc.New(podgc.Options{
		Client: o.Client, Informers: o.Informers, Threshold: o.TerminatedPodThreshold, Log: o.Log.Named("podgc"),
	})
	if err != nil {
		return err
	}
	taints, err := nodetaint.New(nodetaint.Options{Client: o.Client, Informers: o.Informers, Log: o.Log.Named("nodetaint")})
	if err != nil {
		return err
	}
	quotas, err := resourcequota.New(resourcequota.Options{
		Client: o.Client, Metadata: o.Metadata, Informers: o.Informers, Monitors: m.monitors, Log: o.Log.Named("resourcequota"),
	})
	if err != nil {
		return err
	}
	m.loops = map[string]controller{
		"resourcequota": quotas, "nodetaint": taints, "garbage": gc, "namespace": ns, "serviceaccount": sa, "podgc": pods, "monitors": m.monitors,
	}
	return m.buildWorkloads(o)
}

// Ready is closed when every controller works.
func (m *Manager) Ready() <-chan struct{} { return m.ready }

// Run runs the controllers until ctx ends or one of them fails. It can be
// called once.
func (m *Manager) Run(ctx context.Context) error {
	defer m.events.Shutdown()
	m.events.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: m.client.CoreV1().Events("")})
	group, ctx := errgroup.WithContext(ctx)
	if m.own != nil {
		m.own.Start(ctx.Done())
		defer m.own.Shutdown()
	}
	for name, c := range m.loops {
		group.Go(func() error {
			if err := c.Run(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	group.Go(func() error {
		for _, c := range m.loops {
			select {
			case <-c.Ready():
			case <-ctx.Done():
				return nil
			}
		}
		close(m.ready)
		m.log.Info("controllers ready")
		return nil
	})
	return group.Wait()
}

// dropManagedFields saves the memory of what no controller reads.
func dropManagedFields(obj any) (any, error) {
	if o, err := meta.Accessor(obj); err == nil {
		o.SetManagedFields(nil)
	}
	return obj, nil
}
