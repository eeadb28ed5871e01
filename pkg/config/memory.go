package config

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/carob-project/carob/pkg/pod"
)

// The policies of Kubernetes' kubelet.
const (
	noReservation     = "None"
	tieredReservation = "TieredReservation"
)

// Memory is how cgroup v2 treats the memory of pods below their limits. The
// settings are the kubelet's, and so are their defaults.
type Memory struct {
	// MemoryThrottlingFactor is the part of the way from request to limit at
	// which memory is throttled; 0: not at all.
	MemoryThrottlingFactor float64 `json:"memory-throttling-factor"`
	// MemoryReservationPolicy is None or TieredReservation.
	MemoryReservationPolicy string `json:"memory-reservation-policy"`
}

// MemoryQoS is what the settings say.
func (m Memory) MemoryQoS() pod.MemoryQoS {
	return pod.MemoryQoS{ThrottlingFactor: m.MemoryThrottlingFactor, Reserve: m.MemoryReservationPolicy == tieredReservation}
}

// addFlags adds the settings to fs.
func (m *Memory) addFlags(fs *pflag.FlagSet) {
	fs.Float64Var(&m.MemoryThrottlingFactor, "memory-throttling-factor", 0, "part of the way from a container's request to its limit at which its memory is throttled, as 0.9, on cgroup v2; 0: not before the limit")
	fs.StringVar(&m.MemoryReservationPolicy, "memory-reservation-policy", noReservation, "TieredReservation: what pods request is kept from being reclaimed, on cgroup v2; None: it is not")
}

// validate tells bad of every mistake.
func (m Memory) validate(bad func(key, value, rule string)) {
	m.validateFactor(bad)
	if p := m.MemoryReservationPolicy; p != noReservation && p != tieredReservation {
		bad("memory-reservation-policy", p, "must be "+noReservation+" or "+tieredReservation)
	}
}

// validateFactor is apart as the factor alone may be no number.
func (m Memory) validateFactor(bad func(key, value, rule string)) {
	if f := m.MemoryThrottlingFactor; !(f >= 0 && f <= 1) {
		bad("memory-throttling-factor", fmt.Sprint(f), "must be between 0 and 1")
	}
}
