package cgroup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/carob-project/carob/pkg/pod"
)

// dbusSlicer talks to systemd over D-Bus, one connection a call: pods come and
// go rarely enough, and a kept connection would have to survive a restart of
// systemd.
type dbusSlicer struct {
	v Version
}

func (s *dbusSlicer) start(ctx context.Context, slice string, r pod.Resources) error {
	conn, err := dbus.NewWithContext(ctx)
	if err != nil {
		return fmt.Errorf("connect to systemd: %w", err)
	}
	defer conn.Close()
	done := make(chan string, 1)
	limits := sliceProperties(s.v, r)
	properties := append([]dbus.Property{
		dbus.PropDescription("carob pods"),
		property("DefaultDependencies", false),
	}, limits...)
	_, err = conn.StartTransientUnitContext(ctx, slice, "replace", properties, done)
	if isDBusError(err, "org.freedesktop.systemd1.UnitExists") {
		return s.update(ctx, conn, slice, limits)
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", slice, err)
	}
	return awaitJob(ctx, "start "+slice, done)
}

func (s *dbusSlicer) update(ctx context.Context, conn *dbus.Conn, slice string, limits []dbus.Property) error {
	if err := conn.SetUnitPropertiesContext(ctx, slice, true, limits...); err != nil {
		return fmt.Errorf("set properties of %s: %w", slice, err)
	}
	return nil
}

func (s *dbusSlicer) stop(ctx context.Context, slice string) error {
	conn, err := dbus.NewWithContext(ctx)
	if err != nil {
		return fmt.Errorf("connect to systemd: %w", err)
	}
	defer conn.Close()
	done := make(chan string, 1)
	_, err = conn.StopUnitContext(ctx, slice, "replace", done)
	if isDBusError(err, "org.freedesktop.systemd1.NoSuchUnit") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", slice, err)
	}
	return awaitJob(ctx, "stop "+slice, done)
}

// awaitJob waits for the result of a systemd job.
func awaitJob(ctx context.Context, what string, done <-chan string) error {
	select {
	case result := <-done:
		if result != "done" && result != "skipped" {
			return fmt.Errorf("%s: systemd says %s", what, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
}

// sliceProperties are the limits in systemd's terms. The files are written
// beside them; these keep systemd from setting them back when it reloads.
func sliceProperties(v Version, r pod.Resources) []dbus.Property {
	out := []dbus.Property{
		property("CPUAccounting", true),
		property("MemoryAccounting", true),
		property("TasksAccounting", true),
	}
	if r.CPUShares != 0 {
		if v == V2 {
			out = append(out, property("CPUWeight", pod.CPUWeight(r.CPUShares)))
		} else {
			out = append(out, property("CPUShares", r.CPUShares))
		}
	}
	if r.CPUQuota != 0 {
		out = append(out, property("CPUQuotaPerSecUSec", quotaPerSecond(r.CPUQuota, cmp.Or(r.CPUPeriod, defaultPeriod))))
	}
	if r.MemoryLimit != 0 {
		name := "MemoryMax"
		if v == V1 {
			name = "MemoryLimit"
		}
		out = append(out, property(name, orInfinity(r.MemoryLimit)))
	}
	if v == V2 {
		out = append(out, memoryProperties(r)...)
	}
	if r.PIDsLimit > 0 {
		out = append(out, property("TasksMax", uint64(r.PIDsLimit)))
	}
	return out
}

// memoryProperties are what pod.MemoryFiles returns.
func memoryProperties(r pod.Resources) []dbus.Property {
	var out []dbus.Property
	if r.MemoryHigh != 0 {
		out = append(out, property("MemoryHigh", orInfinity(r.MemoryHigh)))
	}
	if r.MemoryMin != 0 {
		out = append(out, property("MemoryMin", uint64(max(r.MemoryMin, 0))))
	}
	if r.MemoryLow != 0 {
		out = append(out, property("MemoryLow", uint64(max(r.MemoryLow, 0))))
	}
	return out
}

// orInfinity is a limit as systemd has it.
func orInfinity(n int64) uint64 {
	if n < 0 {
		return math.MaxUint64
	}
	return uint64(n)
}

// quotaPerSecond converts a quota of a period to microseconds of CPU a second,
// rounded up to whole percents as systemd stores them.
func quotaPerSecond(quota int64, period uint64) uint64 {
	const percent = 10_000
	if quota <= 0 || uint64(quota) > math.MaxUint64/1_000_000 {
		return math.MaxUint64
	}
	per := (uint64(quota)*1_000_000 + period - 1) / period
	return (per + percent - 1) / percent * percent
}

func property(name string, value any) dbus.Property {
	return dbus.Property{Name: name, Value: godbus.MakeVariant(value)}
}

// isDBusError compares the D-Bus error name, which is part of its interface.
func isDBusError(err error, name string) bool {
	var e godbus.Error
	return errors.As(err, &e) && e.Name == name
}
