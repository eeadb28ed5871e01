package footprint

import "time"

const (
	// quietShare is the share of a core below which a process counts as
	// quiet.
	quietShare = 0.05
	// quietSamples in a row end a burst.
	quietSamples = 2
	// slack is the growth that is not worth a collection.
	slack = 8 << 20
	// leastGap is the least time between two collections.
	leastGap = 20 * time.Second
)

// decider tells when giving memory back is due: the process has become quiet
// after a burst, and is larger than after the last time. What a quiet process
// takes back is what it needs, and stays.
type decider struct {
	quiet int       // samples in a row
	at    time.Time // of the last time; zero: the start is a burst too
	base  int64     // resident then
	burst bool      // since then
	calm  bool      // as turned said last
}

// turned says whether a quiet process has become busy or a busy one quiet.
func (d *decider) turned() bool {
	was := d.calm
	d.calm = d.quiet >= quietSamples
	return d.calm != was
}

// growth is how far the heap may grow, in percent.
func (d *decider) growth() int {
	if d.calm {
		return quietGrowth
	}
	return burstGrowth
}

// due takes in what was used between two readings.
func (d *decider) due(before, now usage) bool {
	elapsed := now.at.Sub(before.at)
	if elapsed <= 0 || float64(now.cpu-before.cpu) > quietShare*float64(elapsed) {
		d.quiet, d.burst = 0, true
		return false
	}
	d.quiet++
	if d.quiet < quietSamples {
		return false
	}
	if d.at.IsZero() {
		return true
	}
	return d.burst && now.resident > d.base+slack && now.at.Sub(d.at) >= leastGap
}

// gaveBack takes in what was left.
func (d *decider) gaveBack(now usage) { d.at, d.base, d.burst = now.at, now.resident, false }
