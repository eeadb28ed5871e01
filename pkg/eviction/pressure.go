package eviction

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Observation is how much of something there is and is left.
type Observation struct {
	Capacity, Available int64
}

// Observations are those of one instant. A signal that could not be observed is
// absent, and its thresholds then count as not crossed.
type Observations map[Signal]Observation

// State is what has to be remembered from one look to the next. The zero State
// remembers nothing.
type State struct {
	// since is when each crossed threshold was first seen crossed; a threshold
	// is known by its place in the list.
	since map[int]time.Time
	// met are the thresholds that were crossed for their grace period: they
	// stay so until their minimum reclaim is free.
	met map[int]bool
	// last is when each condition was last observed.
	last map[corev1.NodeConditionType]time.Time
}

// Round is what one look has shown.
type Round struct {
	// Conditions are those that hold, sorted.
	Conditions []corev1.NodeConditionType
	// Starved are the thresholds for which something has to be done, the most
	// urgent first: memory before all others.
	Starved []Threshold
}

// Look takes in observations. period is how long a condition holds after it was
// last observed.
func Look(s State, thresholds []Threshold, obs Observations, period time.Duration, now time.Time) (State, Round) {
	next := State{since: map[int]time.Time{}, met: map[int]bool{}, last: map[corev1.NodeConditionType]time.Time{}}
	maps.Copy(next.last, s.last)
	var r Round
	for i, t := range thresholds {
		if !t.crossed(obs, false) && (!s.met[i] || !t.crossed(obs, true)) {
			continue
		}
		since, ok := s.since[i]
		if !ok {
			since = now
		}
		next.since[i] = since
		next.last[t.Signal.Condition()] = now
		if now.Sub(since) < t.Grace {
			continue
		}
		next.met[i] = true
		r.Starved = append(r.Starved, t)
	}
	for c, at := range next.last {
		if now.Sub(at) < period || at.Equal(now) {
			r.Conditions = append(r.Conditions, c)
		}
	}
	slices.Sort(r.Conditions)
	slices.SortStableFunc(r.Starved, func(a, b Threshold) int { return urgency(a) - urgency(b) })
	return next, r
}

func urgency(t Threshold) int {
	if t.Signal.Resource() == corev1.ResourceMemory {
		return 0
	}
	return 1
}

// Relieved says that no threshold is crossed, their minimum reclaim counted in.
func Relieved(thresholds []Threshold, obs Observations) bool {
	return !slices.ContainsFunc(thresholds, func(t Threshold) bool { return t.crossed(obs, true) })
}

func (t Threshold) crossed(obs Observations, reclaim bool) bool {
	o, ok := obs[t.Signal]
	if !ok {
		return false
	}
	limit := t.Value.Of(o.Capacity)
	if reclaim && t.MinReclaim != nil {
		limit.Add(t.MinReclaim.Of(o.Capacity))
	}
	return limit.CmpInt64(o.Available) > 0
}

// Disks says which file systems a node has.
type Disks struct {
	// OwnImages: images and the containers' file systems lie on another disk
	// than volumes and logs.
	OwnImages bool
}

// Parts are the parts of a pod's disk use that count for the signal.
func (d Disks) Parts(s Signal) Part {
	if !d.OwnImages {
		return partAll
	}
	switch s {
	case ImageFSAvailable, ImageFSInodesFree:
		return PartRootfs
	}
	return PartLogs | PartVolumes
}

// Reclaims says whether removing ended containers and unused images can help
// with the signal, before any pod has to go.
func (d Disks) Reclaims(s Signal) bool {
	switch s {
	case ImageFSAvailable, ImageFSInodesFree:
		return true
	case NodeFSAvailable, NodeFSInodesFree:
		return !d.OwnImages
	}
	return false
}
