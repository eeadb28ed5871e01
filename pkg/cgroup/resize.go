package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/carob-project/carob/pkg/pod"
)

// ResizePod sets the resources of a pod's group that exists. What r leaves
// unset is not touched; pod.Unlimited takes a limit away.
func (m *Manager) ResizePod(ctx context.Context, name string, r pod.Resources) error {
	if err := checkName(name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.exists(name) {
		return fmt.Errorf("resize cgroup %s: %w", m.ParentFor(name), fs.ErrNotExist)
	}
	if err := m.ensure(ctx, name, r, false); err != nil {
		return fmt.Errorf("resize cgroup %s: %w", m.ParentFor(name), err)
	}
	m.balance(ctx)
	return nil
}

// PodLimits reads the limits of a pod's group. It returns an error that wraps
// fs.ErrNotExist where there is no such group.
func (m *Manager) PodLimits(name string) (pod.Resources, error) {
	if err := checkName(name); err != nil {
		return pod.Resources{}, err
	}
	return m.limits(func(hierarchy string) string { return m.dir(hierarchy, name) })
}

// ContainerLimits reads those of a container's group as ContainerStats finds
// it. Its CPU shares are left out on v2, where OCI runtimes have turned shares
// into weights in more than one way.
func (m *Manager) ContainerLimits(name, prefix, id string) (pod.Resources, error) {
	dir, err := m.containerDir(name, prefix, id)
	if err != nil {
		return pod.Resources{}, err
	}
	r, err := m.limits(dir)
	if m.info.Version == V2 {
		r.CPUShares = 0
	}
	return r, err
}

func (m *Manager) limits(dir func(hierarchy string) string) (pod.Resources, error) {
	read := limitsV1
	if m.info.Version == V2 {
		read = limitsV2
	}
	r, err := read(dir(m.hierarchy("cpu")), dir(m.hierarchy("memory")))
	if err != nil {
		return pod.Resources{}, fmt.Errorf("read cgroup: %w", err)
	}
	return r, nil
}

func limitsV1(cpu, memory string) (pod.Resources, error) {
	var r pod.Resources
	var errs []error
	keep := func(n int64, err error) int64 {
		errs = append(errs, err)
		return n
	}
	r.CPUShares = uint64(max(keep(limit(cpu, "cpu.shares")), 0))
	r.CPUQuota = keep(limit(cpu, "cpu.cfs_quota_us"))
	r.CPUPeriod = uint64(max(keep(limit(cpu, "cpu.cfs_period_us")), 0))
	r.MemoryLimit = keep(limit(memory, "memory.limit_in_bytes"))
	if r.MemoryLimit >= noLimitV1 {
		r.MemoryLimit = pod.Unlimited
	}
	return r, errors.Join(errs...)
}

// noLimitV1 is below what v1 says where there is no limit: the largest number
// of pages, in bytes.
const noLimitV1 = int64(1) << 62

func limitsV2(cpu, memory string) (pod.Resources, error) {
	var r pod.Resources
	weight, err := limit(cpu, "cpu.weight")
	if err != nil {
		return r, err
	}
	r.CPUShares = sharesOf(uint64(max(weight, 1)))
	text, err := read(cpu, "cpu.max")
	if err != nil {
		return r, err
	}
	quota, period, _ := strings.Cut(text, " ")
	if r.CPUQuota, err = parseLimit(quota); err != nil {
		return r, fmt.Errorf("cpu.max of %s: %w", cpu, err)
	}
	if r.CPUPeriod, err = strconv.ParseUint(period, 10, 64); err != nil {
		return r, fmt.Errorf("cpu.max of %s: %w", cpu, err)
	}
	r.MemoryLimit, err = limit(memory, "memory.max")
	return r, err
}

// sharesOf turns a weight back into the least shares that give it.
func sharesOf(weight uint64) uint64 {
	const spread, weights = 262142, 9999
	return 2 + ((weight-1)*spread+weights-1)/weights
}

// limit reads a file that holds one limit.
func limit(dir, file string) (int64, error) {
	text, err := read(dir, file)
	if err != nil {
		return 0, err
	}
	n, err := parseLimit(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", filepath.Join(dir, file), err)
	}
	return n, nil
}

func parseLimit(text string) (int64, error) {
	if text == unlimited {
		return pod.Unlimited, nil
	}
	return strconv.ParseInt(text, 10, 64)
}
