package eviction

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Signal is something that a node can run short of.
type Signal string

// The signals that can be configured.
const (
	MemoryAvailable   Signal = "memory.available"
	NodeFSAvailable   Signal = "nodefs.available"
	NodeFSInodesFree  Signal = "nodefs.inodesFree"
	ImageFSAvailable  Signal = "imagefs.available"
	ImageFSInodesFree Signal = "imagefs.inodesFree"
	PIDAvailable      Signal = "pid.available"

	// PodsMemoryAvailable is what the pods together have left of the memory
	// that they may use; its threshold is that of MemoryAvailable.
	PodsMemoryAvailable Signal = "allocatableMemory.available"
)

// The resources that messages name beside those of the API.
const (
	resourceInodes corev1.ResourceName = "inodes"
	resourcePIDs   corev1.ResourceName = "pids"
)

// Resource is what runs short with the signal, as messages name it.
func (s Signal) Resource() corev1.ResourceName {
	switch s {
	case MemoryAvailable, PodsMemoryAvailable:
		return corev1.ResourceMemory
	case NodeFSInodesFree, ImageFSInodesFree:
		return resourceInodes
	case PIDAvailable:
		return resourcePIDs
	default:
		return corev1.ResourceEphemeralStorage
	}
}

// Condition is the node's condition that the signal is about.
func (s Signal) Condition() corev1.NodeConditionType {
	switch s.Resource() {
	case corev1.ResourceMemory:
		return corev1.NodeMemoryPressure
	case resourcePIDs:
		return corev1.NodePIDPressure
	default:
		return corev1.NodeDiskPressure
	}
}

func known(s Signal) bool {
	return slices.Contains([]Signal{
		MemoryAvailable, NodeFSAvailable, NodeFSInodesFree, ImageFSAvailable, ImageFSInodesFree, PIDAvailable,
	}, s)
}

// Value is an amount, or a part of the capacity.
type Value struct {
	Quantity *resource.Quantity
	// Percent is of the capacity, where Quantity is nil.
	Percent float32
}

// Of returns the amount for a capacity.
func (v Value) Of(capacity int64) resource.Quantity {
	if v.Quantity != nil {
		return v.Quantity.DeepCopy()
	}
	return *resource.NewQuantity(int64(float64(capacity)*float64(v.Percent/100)), resource.BinarySI)
}

// Threshold is how little of something may be left.
type Threshold struct {
	Signal Signal
	Value  Value
	// Soft thresholds end pods only after they were crossed for Grace, and
	// give them time.
	Soft  bool
	Grace time.Duration
	// MinReclaim is how much more than the threshold has to be free again.
	MinReclaim *Value
}

// Hard returns the thresholds that hold where nothing is configured.
func Hard() map[string]string {
	return map[string]string{
		string(MemoryAvailable): "100Mi", string(NodeFSAvailable): "10%", string(NodeFSInodesFree): "5%",
		string(ImageFSAvailable): "15%", string(ImageFSInodesFree): "5%",
	}
}

// Settings are thresholds as they are configured, by signal.
type Settings struct {
	// Hard is nil where nothing is configured.
	Hard, Soft map[string]string
	// SoftGrace is required for each soft threshold.
	SoftGrace map[string]string
	// MinReclaim may name any signal.
	MinReclaim map[string]string
}

// ErrSetting is wrapped by every mistake in Settings.
var ErrSetting = errors.New("eviction")

// Parse reads the settings. It returns every mistake.
func Parse(s Settings) ([]Threshold, error) {
	var errs []error
	if s.Hard == nil {
		s.Hard = Hard()
	}
	list := values(s.Hard, &errs)
	soft := values(s.Soft, &errs)
	for i := range soft {
		t := &soft[i]
		t.Soft = true
		text, ok := s.SoftGrace[string(t.Signal)]
		d, err := time.ParseDuration(text)
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("%w: the soft threshold of %s needs a grace period", ErrSetting, t.Signal))
		case err != nil || d < 0:
			errs = append(errs, fmt.Errorf("%w: grace period of %s: %q is no duration", ErrSetting, t.Signal, text))
		}
		t.Grace = d
	}
	list = append(list, soft...)
	for _, t := range values(s.MinReclaim, &errs) {
		for i := range list {
			if list[i].Signal == t.Signal {
				list[i].MinReclaim = &t.Value
			}
		}
	}
	for _, t := range list {
		if t.Signal == MemoryAvailable && !t.Soft {
			t.Signal = PodsMemoryAvailable
			list = append(list, t)
		}
	}
	return list, errors.Join(errs...)
}

// values reads amounts by signal, in order of the names. Nothing and all are no
// thresholds.
func values(m map[string]string, errs *[]error) []Threshold {
	var list []Threshold
	for _, name := range slices.Sorted(maps.Keys(m)) {
		text := m[name]
		if !known(Signal(name)) {
			*errs = append(*errs, fmt.Errorf("%w: unknown signal %q", ErrSetting, name))
			continue
		}
		if text == "0%" || text == "100%" {
			continue
		}
		v, err := parseValue(text)
		if err != nil {
			*errs = append(*errs, fmt.Errorf("%w: %s: %w", ErrSetting, name, err))
			continue
		}
		list = append(list, Threshold{Signal: Signal(name), Value: v})
	}
	return list
}

func parseValue(text string) (Value, error) {
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		n, err := strconv.ParseFloat(percent, 32)
		if err != nil || !(n >= 0 && n <= 100) {
			return Value{}, fmt.Errorf("%q is no percentage between 0%% and 100%%", text)
		}
		return Value{Percent: float32(n)}, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return Value{}, fmt.Errorf("%q: %w", text, err)
	}
	if q.Sign() <= 0 {
		return Value{}, fmt.Errorf("%q must be positive", text)
	}
	return Value{Quantity: &q}, nil
}

// Reserved is what the hard thresholds keep of a node's capacity from its pods.
func Reserved(thresholds []Threshold, capacity corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, t := range thresholds {
		var name corev1.ResourceName
		switch {
		case t.Soft:
			continue
		case t.Signal == MemoryAvailable:
			name = corev1.ResourceMemory
		case t.Signal == NodeFSAvailable:
			name = corev1.ResourceEphemeralStorage
		default:
			continue
		}
		has := capacity[name]
		out[name] = t.Value.Of(has.Value())
	}
	return out
}

// Allocatable is what pods may use of a node's capacity.
func Allocatable(capacity corev1.ResourceList, reserved ...corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, has := range capacity {
		left := has.DeepCopy()
		for _, r := range reserved {
			left.Sub(r[name])
		}
		if left.Sign() < 0 {
			left.Set(0)
		}
		out[name] = left
	}
	return out
}
