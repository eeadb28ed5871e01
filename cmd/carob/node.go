package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/carob-project/carob/pkg/agent"
	"github.com/carob-project/carob/pkg/agent/logstore"
	"github.com/carob-project/carob/pkg/agent/nodestatus"
	"github.com/carob-project/carob/pkg/cgroup"
	"github.com/carob-project/carob/pkg/cni"
	"github.com/carob-project/carob/pkg/config"
	"github.com/carob-project/carob/pkg/credentialprovider"
	"github.com/carob-project/carob/pkg/ctrd"
	"github.com/carob-project/carob/pkg/netdial"
	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/sandbox"
	"github.com/carob-project/carob/pkg/tracing"
	"github.com/carob-project/carob/pkg/version"
)

func networkOptions(c config.Config, log *zap.Logger) cni.Options {
	cidr, _ := netip.ParsePrefix(c.PodCIDR) // validated; empty: the network chooses
	return cni.Options{
		Name: "carob-" + c.InstanceID(), ConfDir: c.CNIConfDir, BinDirs: c.CNIBinDirs(),
		StateDir: filepath.Join(c.RunDir, "cni"), PodCIDR: cidr, Doors: doors(c.Listen), Log: log,
	}
}

func newCgroups(c config.Config, log *zap.Logger) (*cgroup.Manager, error) {
	info, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	return cgroup.New(info, "/carob-"+c.InstanceID(), log)
}

func newSandboxes(c config.Config, network *cni.Network, cgroups *cgroup.Manager, log *zap.Logger) (*sandbox.Manager, error) {
	g := groups{cgroups, c.PodPIDsLimit, c.MemoryQoS()}
	return sandbox.New(sandbox.Options{
		Dir: sandboxesDir(c), Network: network, Cgroups: cgroups, NodeIPs: nodeIPs(c.Listen), Log: log,
		Sensitivity: ctrd.Sensitivity(),
		Resources:   func(p *corev1.Pod) pod.Resources { return g.ofPod(p, pod.PodResources(p)) },
	})
}

// usersOf tells the IDs of the pod's user namespace, which is made before any
// container asks for its volumes.
func usersOf(sandboxes *sandbox.Manager) func(types.UID) (pod.IDRange, error) {
	return func(uid types.UID) (pod.IDRange, error) {
		s, err := sandboxes.Get(uid)
		if err != nil {
			return pod.IDRange{}, err
		}
		if s == nil || s.Stale {
			return pod.IDRange{}, fmt.Errorf("user namespace of the pod: %w", pod.ErrNotFound)
		}
		return s.Users, nil
	}
}

func sandboxesDir(c config.Config) string { return filepath.Join(c.RunDir, "sandboxes") }

// networkHealth tells whether pods can be attached.
type networkHealth struct{ *cni.Network }

// Check implements agent.Health.
func (n networkHealth) Check(ctx context.Context) error { return n.Status(ctx) }

// runtimeHealth tells whether containerd answers.
type runtimeHealth struct{ *ctrd.Runtime }

// Check implements agent.Health.
func (r runtimeHealth) Check(ctx context.Context) error { return r.Ping(ctx) }

// newNode puts this machine's agent together.
func newNode(c config.Config, client kubernetes.Interface, plugins *credentialprovider.Provider, runtime *ctrd.Runtime, network *cni.Network, logs *logstore.Store, tracer *tracing.Tracer, log *zap.Logger) (*agent.Agent, error) {
	cgroups, err := newCgroups(c, log.Named("cgroup"))
	if err != nil {
		return nil, err
	}
	qos := c.MemoryQoS()
	if qos != (pod.MemoryQoS{}) && cgroups.Info().Version != cgroup.V2 {
		log.Warn("memory-throttling-factor and memory-reservation-policy have no effect: this machine has no cgroup v2")
	}
	cgroups.ReserveMemory(context.Background(), qos.Reserve)
	sandboxes, err := newSandboxes(c, network, cgroups, log.Named("sandbox"))
	if err != nil {
		return nil, err
	}
	machine := nodestatus.Machine{DataDir: c.DataDir}
	thresholds, err := c.Thresholds()
	if err != nil {
		return nil, err
	}
	var node *agent.Agent
	// Volumes are only asked for by the agent, so it is there by then.
	allocatable := func() corev1.ResourceList { return node.Allocatable() }
	volumes, err := newVolumes(c, client, runtime, usersOf(sandboxes), allocatable, log)
	if err != nil {
		return nil, err
	}
	node, err = agent.New(agent.Options{
		Client: client, NodeName: c.NodeName, Handlers: c.Handlers(), UnlimitedHugePages: !cgroups.Info().LimitsHugePages(), NodeIPs: nodeIPs(c.Listen),
		Runtime: runtime, View: runtime, Resizer: runtime, Groups: groups{cgroups, c.PodPIDsLimit, qos}, MemoryQoS: qos,
		Images: runtime, ImageLister: runtime, Credentials: plugins,
		Exec: ctrd.NewCommands(runtime, filepath.Join(c.RunDir, "exec")),
		API:  podsReach(c.Listen, network.CIDR().IsValid(), nodeIPs(c.Listen)[0]), HostAPI: listener(c.Listen),
		Sandboxes: sandboxes, SandboxView: sandboxes, Collectors: []agent.Collector{sandboxes, runtime},
		Volumes: volumes, VolumeView: volumeParts{volumes}, Disk: &diskMeter{volumes: volumes, runtime: runtime, dataDir: c.DataDir},
		Bounds: bounds{cgroups}, ImageStore: runtime, ImagePolicy: c.ImagePolicy(),
		Pressure: agent.Pressure{
			Thresholds: thresholds, Transition: c.Transition(), MaxGrace: c.EvictionMaxGrace, Reserved: c.Reserved(),
		},

		Meter: meter{cgroups, machine},
		Logs:  logs, LogReader: logs, Messages: volumeParts{volumes},
		Inside: runtime, Attacher: logs, Dial: netdial.Localhost, Init: c.Init,
		RuntimeHealth: runtimeHealth{runtime}, NetworkHealth: networkHealth{network},
		Features: runtime.Features, Modules: ctrd.SecurityModules(),
		RuntimeVersion: func(ctx context.Context) (string, error) {
			v, err := runtime.Version(ctx)
			return "containerd://" + v, err
		},
		Machine: machine, AgentVersion: version.Kubernetes(),
		SocketPath: c.AgentSocket(), Tracer: tracer, Log: log.Named("agent"),
	})
	return node, err
}

// nodeIPs returns the addresses of this machine that others would use: that of
// the listener where it has one, then that of the default route.
func nodeIPs(listen string) []string {
	host, _, err := net.SplitHostPort(listen)
	if ip, perr := netip.ParseAddr(host); err == nil && perr == nil && !ip.IsUnspecified() && !ip.IsLoopback() {
		return []string{ip.String()}
	}
	// A connected UDP socket has the source address the kernel would choose;
	// nothing is sent.
	conn, err := net.Dial("udp4", "192.0.2.1:9")
	if err != nil {
		return []string{"127.0.0.1"}
	}
	defer func() { _ = conn.Close() }()
	if a, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		return []string{a.IP.String()}
	}
	return []string{"127.0.0.1"}
}
