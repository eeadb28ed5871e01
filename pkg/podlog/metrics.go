package podlog

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are shared by all Copiers of an agent.
type counters struct {
	bytes, records, dropped, droppedBytes atomic.Uint64
}

// Counts is what all Copiers together have done since the start.
type Counts struct {
	// Records written to files, and their size there in bytes.
	Records, Bytes uint64
	// Dropped is the number of records, and DroppedBytes that of the bytes of
	// output, lost because a file could not be written.
	Dropped, DroppedBytes uint64
}

// Counts returns the present counts.
func (c *Copiers) Counts() Counts {
	return Counts{
		Records: c.n.records.Load(), Bytes: c.n.bytes.Load(),
		Dropped: c.n.dropped.Load(), DroppedBytes: c.n.droppedBytes.Load(),
	}
}

// metric is one counter as Prometheus sees it.
type metric struct {
	desc *prometheus.Desc
	get  func(Counts) uint64
}

func metrics() []metric {
	m := func(name, help string, get func(Counts) uint64) metric {
		return metric{prometheus.NewDesc("carob_container_log_"+name, help, nil, nil), get}
	}
	return []metric{
		m("records_total", "Records written to container logs.", func(c Counts) uint64 { return c.Records }),
		m("bytes_total", "Bytes written to container logs.", func(c Counts) uint64 { return c.Bytes }),
		m("dropped_records_total", "Records lost because a container log could not be written.",
			func(c Counts) uint64 { return c.Dropped }),
		m("dropped_bytes_total", "Bytes of container output lost because a log could not be written.",
			func(c Counts) uint64 { return c.DroppedBytes }),
	}
}

// Describe implements prometheus.Collector.
func (c *Copiers) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *Copiers) Collect(ch chan<- prometheus.Metric) {
	now := c.Counts()
	for _, m := range c.metrics {
		ch <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.get(now)))
	}
}
