package main

import (
	"context"
	"time"
)

// coldStarts is how often an instance is made, started and removed.
const coldStarts = 5

// up measures starts with an empty data directory, and what carob needs when
// it has never had anything to do.
func (b *bench) up(ctx context.Context) error {
	var cold []time.Duration
	for range coldStarts {
		c, err := newCarob(b.bin, b.dir+"/cold")
		if err != nil {
			return err
		}
		took, err := c.up(ctx)
		if err != nil {
			_ = c.destroy()
			return err
		}
		if len(cold) == coldStarts-1 {
			err = b.idleRow(ctx, c)
		}
		cold = append(cold, took)
		if err2 := c.destroy(); err == nil {
			err = err2
		}
		if err != nil {
			return err
		}
	}
	b.report.row("`carob up` until /readyz, empty data directory", ms(median(cold)), "at most 1500 ms", median(cold) <= 1500*time.Millisecond)
	return nil
}

func (b *bench) idleRow(ctx context.Context, c *carob) error {
	if err := settle(ctx, settleTime); err != nil {
		return err
	}
	m, err := memoryOf(c.pid())
	if err == nil {
		b.report.row("memory (Pss) of carob at idle, without pods", mib(m.pss), "at most 90 MiB", m.pss <= 90<<10)
	}
	return err
}
