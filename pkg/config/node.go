package config

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/carob-project/carob/pkg/eviction"
)

// Node is how a node keeps itself alive: what it keeps from its pods, when it
// ends them and when it removes images.
type Node struct {
	// SystemReserved and CarobReserved are kept from all pods, by resource:
	// cpu, memory, ephemeral-storage, pid.
	SystemReserved map[string]string `json:"system-reserved,omitempty"`
	CarobReserved  map[string]string `json:"carob-reserved,omitempty"`
	// EvictionHard are the thresholds by signal; none given: those of
	// Kubernetes. Soft ones need a grace period each.
	EvictionHard           map[string]string `json:"eviction-hard,omitempty"`
	EvictionSoft           map[string]string `json:"eviction-soft,omitempty"`
	EvictionSoftGrace      map[string]string `json:"eviction-soft-grace-period,omitempty"`
	EvictionMinimumReclaim map[string]string `json:"eviction-minimum-reclaim,omitempty"`
	// EvictionTransition is how long a condition of pressure holds.
	EvictionTransition string `json:"eviction-pressure-transition-period"`
	// EvictionMaxGrace bounds the grace period of soft evictions, in seconds.
	EvictionMaxGrace int64 `json:"eviction-max-pod-grace-period"`
	// ImageGCHigh and ImageGCLow are percentages of the disk in use.
	ImageGCHigh   int64  `json:"image-gc-high-threshold"`
	ImageGCLow    int64  `json:"image-gc-low-threshold"`
	ImageGCMinAge string `json:"image-gc-minimum-age"`
	// ImageGCMaxAge is how long an unused image stays; 0: for ever.
	ImageGCMaxAge string `json:"image-gc-maximum-age"`
}

func defaultNode() Node {
	p := eviction.DefaultImagePolicy()
	return Node{
		EvictionTransition: "5m", ImageGCHigh: p.HighPercent, ImageGCLow: p.LowPercent,
		ImageGCMinAge: "2m", ImageGCMaxAge: "0s",
	}
}

// withoutMaps returns the settings that are no maps.
func (n Node) withoutMaps() Node {
	n.SystemReserved, n.CarobReserved = nil, nil
	n.EvictionHard, n.EvictionSoft, n.EvictionSoftGrace, n.EvictionMinimumReclaim = nil, nil, nil, nil
	return n
}

// addFlags adds the settings to fs.
func (n *Node) addFlags(fs *pflag.FlagSet) {
	d := defaultNode()
	text := func(p *map[string]string, name, usage string) { fs.StringToStringVar(p, name, nil, usage) }
	text(&n.SystemReserved, "system-reserved", "what is kept from pods for the system, as cpu=500m,memory=1Gi,ephemeral-storage=1Gi,pid=1000")
	text(&n.CarobReserved, "carob-reserved", "what is kept from pods for carob and containerd, as system-reserved")
	text(&n.EvictionHard, "eviction-hard", "when pods are evicted at once, as memory.available=100Mi,nodefs.available=10% (default: as Kubernetes)")
	text(&n.EvictionSoft, "eviction-soft", "when pods are evicted after a grace period, as memory.available=300Mi")
	text(&n.EvictionSoftGrace, "eviction-soft-grace-period", "grace periods of the soft thresholds, as memory.available=1m30s")
	text(&n.EvictionMinimumReclaim, "eviction-minimum-reclaim", "how much more than the threshold has to be free again, as nodefs.available=500Mi")
	fs.StringVar(&n.EvictionTransition, "eviction-pressure-transition-period", d.EvictionTransition, "how long a condition of pressure holds after it was last seen")
	fs.Int64Var(&n.EvictionMaxGrace, "eviction-max-pod-grace-period", d.EvictionMaxGrace, "longest grace period of pods that soft thresholds evict, in seconds")
	fs.Int64Var(&n.ImageGCHigh, "image-gc-high-threshold", d.ImageGCHigh, "percentage of the images' disk in use at which unused images are removed")
	fs.Int64Var(&n.ImageGCLow, "image-gc-low-threshold", d.ImageGCLow, "percentage of the images' disk in use down to which they are removed")
	fs.StringVar(&n.ImageGCMinAge, "image-gc-minimum-age", d.ImageGCMinAge, "how long an image stays at least after it came")
	fs.StringVar(&n.ImageGCMaxAge, "image-gc-maximum-age", d.ImageGCMaxAge, "how long an unused image stays at most; 0s: for ever")
}

// Thresholds are those of eviction.
func (n Node) Thresholds() ([]eviction.Threshold, error) {
	return eviction.Parse(eviction.Settings{
		Hard: n.EvictionHard, Soft: n.EvictionSoft, SoftGrace: n.EvictionSoftGrace, MinReclaim: n.EvictionMinimumReclaim,
	})
}

// Transition is EvictionTransition as a duration.
func (n Node) Transition() time.Duration {
	d, _ := time.ParseDuration(n.EvictionTransition) // validated
	return d
}

// ImagePolicy is when images are removed.
func (n Node) ImagePolicy() eviction.ImagePolicy {
	least, _ := time.ParseDuration(n.ImageGCMinAge) // validated
	most, _ := time.ParseDuration(n.ImageGCMaxAge)  // validated
	return eviction.ImagePolicy{HighPercent: n.ImageGCHigh, LowPercent: n.ImageGCLow, MinAge: least, MaxAge: most}
}

// Reserved is what is kept from all pods, for both reasons together.
func (n Node) Reserved() corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, m := range []map[string]string{n.SystemReserved, n.CarobReserved} {
		for name, text := range m {
			q, err := resource.ParseQuantity(text)
			if err != nil {
				continue // validated
			}
			sum := out[corev1.ResourceName(name)]
			sum.Add(q)
			out[corev1.ResourceName(name)] = sum
		}
	}
	return out
}

// validate tells bad of every mistake.
func (n Node) validate(bad func(key, value, rule string)) {
	for _, r := range []struct {
		key string
		m   map[string]string
	}{{"system-reserved", n.SystemReserved}, {"carob-reserved", n.CarobReserved}} {
		for _, name := range slices.Sorted(maps.Keys(r.m)) {
			if !slices.Contains([]string{"cpu", "memory", "ephemeral-storage", "pid"}, name) {
				bad(r.key, name, "must be cpu, memory, ephemeral-storage or pid")
			}
			if q, err := resource.ParseQuantity(r.m[name]); err != nil || q.Sign() < 0 {
				bad(r.key, r.m[name], "must be an amount, 0 or more")
			}
		}
	}
	if _, err := n.Thresholds(); err != nil {
		bad("eviction-*", "", err.Error())
	}
	for key, text := range map[string]string{
		"eviction-pressure-transition-period": n.EvictionTransition,
		"image-gc-minimum-age":                n.ImageGCMinAge, "image-gc-maximum-age": n.ImageGCMaxAge,
	} {
		if d, err := time.ParseDuration(text); err != nil || d < 0 {
			bad(key, text, "must be a duration such as 5m")
		}
	}
	if n.EvictionMaxGrace < 0 {
		bad("eviction-max-pod-grace-period", fmt.Sprint(n.EvictionMaxGrace), "must be 0 or more")
	}
	if n.ImageGCHigh < 0 || n.ImageGCHigh > 100 {
		bad("image-gc-high-threshold", fmt.Sprint(n.ImageGCHigh), "must be between 0 and 100")
	}
	if n.ImageGCLow < 0 || n.ImageGCLow > n.ImageGCHigh {
		bad("image-gc-low-threshold", fmt.Sprint(n.ImageGCLow), "must be between 0 and image-gc-high-threshold")
	}
}
