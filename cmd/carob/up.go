package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/carob-project/carob/pkg/agent/logstore"
	"github.com/carob-project/carob/pkg/apiserver"
	"github.com/carob-project/carob/pkg/cni"
	"github.com/carob-project/carob/pkg/component"
	"github.com/carob-project/carob/pkg/config"
	"github.com/carob-project/carob/pkg/controller/manager"
	"github.com/carob-project/carob/pkg/credentialprovider"
	"github.com/carob-project/carob/pkg/ctrd"
	"github.com/carob-project/carob/pkg/etcd"
	"github.com/carob-project/carob/pkg/footprint"
	"github.com/carob-project/carob/pkg/localvolume"
	"github.com/carob-project/carob/pkg/logging"
	"github.com/carob-project/carob/pkg/pipekeeper"
	"github.com/carob-project/carob/pkg/pki"
	"github.com/carob-project/carob/pkg/podlog"
	"github.com/carob-project/carob/pkg/scheduler/loop"
	"github.com/carob-project/carob/pkg/tracing"
	"github.com/carob-project/carob/pkg/version"
)

func (a *app) upCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run carob on this machine, in the foreground",
		Long: "Run API server, etcd, scheduler, controllers and node agent in this process.\n" +
			"SIGTERM or Ctrl-C ends carob and leaves the containers running; `carob down` ends both.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd)
			if err != nil {
				return err
			}
			return a.up(c)
		},
	}
	a.flags.AddUpFlags(cmd.Flags())
	return cmd
}

func (a *app) up(c config.Config) error {
	if os.Geteuid() != 0 {
		return errors.New("carob makes namespaces, mounts and containers: run it as root (`carob check` tells what else it needs)")
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	log, err := logging.New(a.ErrOut, c.LogLevel, c.LogFormat)
	if err != nil {
		return err
	}
	logging.RouteKlog(log)
	ctrd.RouteLogs(log)
	release, err := lock(c)
	if err != nil {
		return err
	}
	defer release()
	if c, err = keepRange(c); err != nil {
		return err
	}
	providers, err := credentialprovider.Load(c.ImageCredentialProviderConfig, c.ImageCredentialProviderBinDir)
	if err != nil {
		return fmt.Errorf("image-credential-provider-config: %w", err)
	}
	if err := c.Save(); err != nil {
		return fmt.Errorf("data-dir: %w", err)
	}
	began := time.Now()
	go footprint.Keep(ctx, log.Named("footprint"))
	tracer, err := tracing.New(ctx, tracing.Options{
		Endpoint: c.TracingEndpoint, Ratio: c.TracingSamplingRatio,
		Node: c.NodeName, Instance: c.InstanceID(), Version: version.Carob(), Log: log.Named("tracing"),
	})
	if err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	i := &instance{config: c, log: log, tracer: tracer, providers: providers}
	err = component.Run(ctx, i.components(), a.reportReady(), func() { a.reportUp(c, time.Since(began)) })
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracesEnd)
	defer cancel()
	if err := tracer.Shutdown(last); err != nil {
		log.Warn("the last traces are not exported", zap.Error(err))
	}
	return err
}

// tracesEnd is how long the end waits for a collector of traces.
const tracesEnd = 2 * time.Second

// keepRange goes on with the range of pod addresses that was chosen at an
// earlier start, where none is given.
func keepRange(c config.Config) (config.Config, error) {
	if c.PodCIDR != "" {
		return c, nil
	}
	s, err := c.Saved()
	if err != nil {
		return c, err
	}
	c.PodCIDR = s.PodCIDR
	return c, nil
}

// reportReady prints a line for each part that has become ready.
func (a *app) reportReady() component.Observer {
	var mu sync.Mutex
	return func(name string, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(a.Out, "%-12s ready in %4d ms\n", name, took.Milliseconds())
	}
}

func (a *app) reportUp(c config.Config, took time.Duration) {
	own := ""
	if d := config.Default(); c.DataDir != d.DataDir {
		own = " --data-dir " + c.DataDir
	}
	fmt.Fprintf(a.Out, "carob is ready in %d ms: %s at https://%s, node %s\n", took.Milliseconds(), version.Carob(), c.Listen, c.NodeName)
	fmt.Fprintf(a.Out, "  carob%s apply -f FILE, carob%s get pods, or kubectl --kubeconfig %s\n", own, own, c.KubeconfigPath())
	fmt.Fprintf(a.Out, "  Ctrl-C ends carob and leaves the pods running; carob%s down ends both\n", own)
}

// instance is one running carob: its settings, and what its components hand
// to each other. Each field is written by one component and read by those
// that need it.
type instance struct {
	config config.Config
	log    *zap.Logger
	tracer *tracing.Tracer
	// providers are the plugins for credentials.
	providers credentialprovider.Config

	certificates *pki.Store
	store        *etcd.Server
	api          *apiserver.Server
	child        *ctrd.Child
	runtime      *ctrd.Runtime
	network      *cni.Network
	logs         *logstore.Store
	keeper       *pipekeeper.Client
}

// components are the parts of the process and what each of them needs.
func (i *instance) components() []component.Component {
	all := []component.Component{
		{Name: "certificates", Start: i.startCertificates},
		{Name: "etcd", Start: i.startEtcd, Stop: i.stopEtcd},
		i.loop("api", []string{"certificates", "etcd"}, i.newAPI),
		// What ended while carob was away is read to its end before its task
		// is deleted.
		{Name: "logs", Start: i.startLogs, Stop: i.stopLogs},
		{Name: "containerd", Needs: []string{"logs"}, Start: i.startContainerd, Stop: i.stopContainerd},
		{Name: "network", Start: i.startNetwork},
		i.loop("scheduler", []string{"api"}, i.newScheduler),
		i.loop("controllers", []string{"api"}, i.newControllers),
		i.loop("volumes", []string{"api"}, i.newLocalVolumes),
		i.loop("agent", []string{"api", "containerd", "network"}, i.newAgent),
	}
	if i.config.Manifests != "" {
		all = append(all, i.loop("manifests", []string{"api"}, i.newFolder))
	}
	return all
}

// runner is a part that runs until its context ends.
type runner interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
}

// loop makes a component of a runner: it is ready when the runner says so, and
// stopping it ends the runner's context and waits for its end.
func (i *instance) loop(name string, needs []string, make func(context.Context) (runner, error)) component.Component {
	run, cancel := context.WithCancel(context.Background())
	ended := newEnd()
	return component.Component{
		Name: name, Needs: needs,
		Start: func(ctx context.Context, fail func(error)) error {
			r, err := make(ctx)
			if err != nil {
				ended.set(err)
				return err
			}
			go func() {
				ended.set(r.Run(run))
				if run.Err() == nil {
					fail(ended.cause())
				}
			}()
			select {
			case <-r.Ready():
				return nil
			case <-ended.done:
				return ended.cause()
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		Stop: func(ctx context.Context) error {
			cancel()
			select {
			case <-ended.done:
				return nil
			case <-ctx.Done():
				return fmt.Errorf("it did not end: %w", ctx.Err())
			}
		},
	}
}

// end is how a runner ended.
type end struct {
	done chan struct{}
	err  error
}

func newEnd() *end { return &end{done: make(chan struct{})} }

func (e *end) set(err error) {
	e.err = err
	close(e.done)
}

var errEnded = errors.New("it ended by itself")

func (e *end) cause() error {
	if e.err != nil {
		return e.err
	}
	return errEnded
}

func (i *instance) startCertificates(context.Context, func(error)) error {
	s, err := pki.Open(pki.Options{Dir: i.config.DataDir + "/pki", Hosts: hostsOf(i.config.Listen), Log: i.log.Named("pki")})
	if err != nil {
		return err
	}
	i.certificates = s
	return s.WriteAdminKubeconfig(i.config.KubeconfigPath(), "https://"+reachable(i.config.Listen))
}

func (i *instance) startEtcd(ctx context.Context, fail func(error)) error {
	s, err := etcd.Start(ctx, etcd.Options{Dir: i.config.DataDir + "/etcd", RunDir: i.config.RunDir, Log: i.log.Named("etcd")})
	if err != nil {
		return err
	}
	i.store = s
	context.AfterFunc(ctx, s.Stop)
	go func() {
		select {
		case err := <-s.Failed():
			fail(err)
		case <-ctx.Done():
		}
	}()
	return nil
}

func (i *instance) stopEtcd(context.Context) error {
	if i.store != nil {
		i.store.Stop()
	}
	return nil
}

func (i *instance) newAPI(context.Context) (runner, error) {
	s, err := apiserver.New(apiserver.Options{
		Listen: i.config.Listen, PKI: i.certificates, Etcd: i.store.Endpoints(), NodeTransport: i.nodeTransport(),
		Version: version.Info(), Tracer: i.tracer, Log: i.log.Named("api"),
	})
	if err != nil {
		return nil, err
	}
	i.api = s
	return s, nil
}

// nodeTransport leads to this machine's agent, through its socket.
func (i *instance) nodeTransport() apiserver.NodeTransport {
	rt := &http.Transport{DialContext: unixDialer(i.config.AgentSocket()), DisableCompression: true}
	return func(node string) (string, http.RoundTripper, error) {
		if node != i.config.NodeName {
			return "", nil, fmt.Errorf("node %q is not this machine, %q", node, i.config.NodeName)
		}
		return "http://agent", rt, nil
	}
}

func (i *instance) startLogs(ctx context.Context, _ func(error)) error {
	copiers, err := podlog.New(podlog.Options{Log: i.log.Named("log")})
	if err != nil {
		return err
	}
	i.keeper = pipekeeper.New(i.config.KeeperSocket())
	i.logs = logstore.New(logstore.Options{
		Copiers: copiers, Keeper: i.keeper, PodsDir: i.config.PodsDir(), SandboxesDir: sandboxesDir(i.config), Log: i.log.Named("log"),
	})
	return i.logs.Recover(ctx)
}

func (i *instance) stopLogs(context.Context) error {
	if i.logs != nil {
		i.logs.Close()
		i.keeper.Close()
	}
	return nil
}

func (i *instance) startContainerd(ctx context.Context, _ func(error)) error {
	address, err := findContainerd(ctx, i.config)
	if err != nil {
		return err
	}
	if address == "" {
		// It has to live until its Stop, not until the end of this start.
		if i.child, err = launchPrivate(context.WithoutCancel(ctx), i.config, i.log); err != nil {
			return err
		}
		address = i.child.Address()
	}
	i.runtime, err = connect(context.WithoutCancel(ctx), i.config, address, false, i.log)
	if err != nil {
		return err
	}
	if err := i.runtime.Ping(ctx); err != nil {
		return err
	}
	return i.runtime.CleanUp(ctx)
}

func (i *instance) stopContainerd(ctx context.Context) error {
	var errs []error
	if i.runtime != nil {
		errs = append(errs, i.runtime.Close())
	}
	if i.child != nil {
		errs = append(errs, i.child.Stop(ctx))
	}
	return errors.Join(errs...)
}

func (i *instance) startNetwork(ctx context.Context, _ func(error)) error {
	n, err := cni.New(networkOptions(i.config, i.log.Named("network")))
	if err != nil {
		return err
	}
	i.network = n
	if err := n.Prepare(ctx); err != nil {
		if errors.Is(err, cni.ErrConfig) {
			// The Node tells, and works again when the file is corrected.
			i.log.Warn("network is not ready", zap.Error(err))
			return nil
		}
		return err
	}
	if cidr := n.CIDR(); cidr.IsValid() && i.config.PodCIDR == "" {
		i.config.PodCIDR = cidr.String()
		return i.config.Save()
	}
	return nil
}

func (i *instance) newScheduler(context.Context) (runner, error) {
	client, _, err := i.client(pki.UserScheduler)
	if err != nil {
		return nil, err
	}
	return loop.New(loop.Options{Client: client, Tracer: i.tracer, Log: i.log.Named("scheduler")})
}

func (i *instance) newControllers(context.Context) (runner, error) {
	client, cfg, err := i.client(pki.UserControllers)
	if err != nil {
		return nil, err
	}
	meta, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	return manager.New(manager.Options{Client: client, Metadata: meta, RootCA: i.certificates.CA(), Log: i.log.Named("controllers")})
}

func (i *instance) newAgent(context.Context) (runner, error) {
	client, _, err := i.client(pki.NodeUser(i.config.NodeName), pki.GroupNodes)
	if err != nil {
		return nil, err
	}
	plugins := credentialprovider.New(i.providers, credentialprovider.Options{Accounts: tokens{client}, Log: i.log.Named("credentials")})
	return newNode(i.config, client, plugins, i.runtime, i.network, i.logs, i.tracer, i.log)
}

// newLocalVolumes returns what makes and removes the volumes of this machine.
func (i *instance) newLocalVolumes(context.Context) (runner, error) {
	client, _, err := i.client(pki.NodeUser(i.config.NodeName), pki.GroupNodes)
	if err != nil {
		return nil, err
	}
	return localvolume.New(localvolume.Options{
		Client: client, Node: i.config.NodeName, Dirs: localvolume.Dirs{Root: i.config.VolumesDir()}, Log: i.log.Named("volumes"),
	})
}

// client returns a client of the API under a component's own name.
func (i *instance) client(user string, groups ...string) (kubernetes.Interface, *rest.Config, error) {
	cfg, err := i.api.ClientConfig(user, groups...)
	if err != nil {
		return nil, nil, err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("API client of %s: %w", user, err)
	}
	return client, cfg, nil
}
