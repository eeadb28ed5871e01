package sandbox

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"strings"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/cni"
	"github.com/carob-project/carob/pkg/pod"
)

// Attach connects the sandbox of a pod to the network and returns its IPs. An
// attached one is returned as it is. The error wraps pod.ErrNotFound where the
// pod has no whole sandbox.
func (m *Manager) Attach(ctx context.Context, p *corev1.Pod) ([]string, error) {
	unlock, err := m.lock(ctx, p.UID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := m.read(p.UID)
	if err != nil {
		return nil, err
	}
	if r == nil || !m.whole(r) {
		return nil, fmt.Errorf("attach network: %w: %w", errNoSandbox, pod.ErrNotFound)
	}
	if r.Network == networkAttached {
		return r.IPs, nil
	}
	if r.HostNetwork {
		r.Network, r.IPs = networkAttached, m.opts.NodeIPs
		return r.IPs, m.write(r)
	}
	req, err := m.request(p, r)
	if err != nil {
		return nil, err
	}
	r.Network = networkAttaching
	if err := m.write(r); err != nil {
		return nil, err
	}
	// After an error the record stays at attaching: a later Detach or Attach
	// clears up what the network could not undo.
	res, err := m.opts.Network.Attach(ctx, req)
	if err != nil {
		return nil, err
	}
	r.Network, r.IPs = networkAttached, nil
	for _, ip := range res.IPs {
		r.IPs = append(r.IPs, ip.String())
	}
	if err := m.write(r); err != nil {
		return nil, err
	}
	m.log.Info("pod network attached", m.podField(r), zap.String("uid", string(r.UID)), zap.Strings("ips", r.IPs))
	return r.IPs, nil
}

// Detach undoes Attach, also a half-done one. A pod without a sandbox is no
// error.
func (m *Manager) Detach(ctx context.Context, uid types.UID) error {
	unlock, err := m.lock(ctx, uid)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := m.read(uid)
	if errors.Is(err, errBroken) {
		return m.opts.Network.Detach(ctx, string(uid))
	}
	if err != nil || r == nil {
		return err
	}
	if r.Network == networkNone {
		return nil
	}
	// From here on the IPs are not to be relied on.
	r.Network, r.IPs = networkAttaching, nil
	if err := m.write(r); err != nil {
		return err
	}
	if err := m.detach(ctx, r); err != nil {
		return err
	}
	return m.write(r)
}

// detach changes the record without writing it.
func (m *Manager) detach(ctx context.Context, r *record) error {
	if r.Network == networkNone {
		return nil
	}
	if !r.HostNetwork {
		if err := m.opts.Network.Detach(ctx, string(r.UID)); err != nil {
			return err
		}
	}
	r.Network, r.IPs = networkNone, nil
	return nil
}

// request is a pod in the network's terms; arguments and capabilities are those
// that CNI plugins made for Kubernetes expect.
func (m *Manager) request(p *corev1.Pod, r *record) (cni.Request, error) {
	ports, err := portMappings(p)
	if err != nil {
		return cni.Request{}, err
	}
	capabilities := map[string]any{"cgroupPath": m.opts.Cgroups.ParentFor(r.Cgroup)}
	limit, err := bandwidth(p.Annotations)
	if err != nil {
		return cni.Request{}, err
	}
	if limit != nil {
		capabilities["bandwidth"] = limit
	}
	return cni.Request{
		ID:    string(p.UID),
		NetNS: filepath.Join(m.dir(p.UID), netFile),
		Args: [][2]string{
			{"IgnoreUnknown", "1"},
			{"K8S_POD_NAMESPACE", p.Namespace},
			{"K8S_POD_NAME", p.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", string(p.UID)},
			{"K8S_POD_UID", string(p.UID)},
		},
		Capabilities: capabilities,
		Ports:        ports,
	}, nil
}

// portMappings are the host ports of all containers that run beside each other.
func portMappings(p *corev1.Pod) ([]cni.PortMapping, error) {
	var out []cni.PortMapping
	containers := append([]corev1.Container{}, p.Spec.Containers...)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		for _, port := range c.Ports {
			if port.HostPort == 0 {
				continue
			}
			pm, err := portMapping(port)
			if err != nil {
				return nil, fmt.Errorf("%w: container %s: %w", pod.ErrConfig, c.Name, err)
			}
			out = append(out, pm)
		}
	}
	return out, nil
}

func portMapping(port corev1.ContainerPort) (cni.PortMapping, error) {
	if port.HostPort < 1 || port.HostPort > math.MaxUint16 || port.ContainerPort < 1 || port.ContainerPort > math.MaxUint16 {
		return cni.PortMapping{}, fmt.Errorf("port %d:%d is out of range", port.HostPort, port.ContainerPort)
	}
	pm := cni.PortMapping{
		Protocol:      strings.ToLower(string(port.Protocol)),
		HostPort:      uint16(port.HostPort),
		ContainerPort: uint16(port.ContainerPort),
	}
	if pm.Protocol == "" {
		pm.Protocol = "tcp"
	}
	if port.HostIP != "" {
		ip, err := netip.ParseAddr(port.HostIP)
		if err != nil {
			return cni.PortMapping{}, fmt.Errorf("hostIP %q: %w", port.HostIP, err)
		}
		pm.HostIP = ip
	}
	return pm, nil
}

// bandwidth reads the annotations for the capability of that name, or nil where
// there are none. A burst as large as the plugin's counter holds is what
// container runtimes give.
func bandwidth(annotations map[string]string) (map[string]any, error) {
	out := map[string]any{}
	for direction, key := range map[string]string{
		"ingress": "kubernetes.io/ingress-bandwidth",
		"egress":  "kubernetes.io/egress-bandwidth",
	} {
		text, ok := annotations[key]
		if !ok {
			continue
		}
		q, err := resource.ParseQuantity(text)
		if err != nil || q.Sign() <= 0 {
			return nil, fmt.Errorf("%w: annotation %s: %q is no bandwidth", pod.ErrConfig, key, text)
		}
		out[direction+"Rate"] = q.Value()
		out[direction+"Burst"] = math.MaxInt32
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}
