package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// sample is how many starts around one place tell how long a start takes
// there.
const sample = 10

// dense fills one instance: 10 pods, 100, 300, and measures at each.
func (b *bench) dense(ctx context.Context) error {
	c, err := b.newCarob(ctx, "dense")
	if err != nil {
		return err
	}
	d := density{b: b, c: c}
	early, err := d.oneByOne(ctx, sample+sample/2)
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{d.hundred, d.fill} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	late, err := d.oneByOne(ctx, sample)
	if err != nil {
		return err
	}
	first, last := median(early[sample/2:]), median(late)
	b.report.row(fmt.Sprintf("start of the %dth pod against the 10th: %s (medians of %d around it)", d.pods, ms(first), sample),
		fmt.Sprintf("%s, %.2f", ms(last), ratio(last, first)), "at most 1.5", ratio(last, first) <= 1.5)
	r, err := d.b.idle(ctx, d.c.meter, time.Minute)
	if err != nil {
		return err
	}
	b.report.row(fmt.Sprintf("idle CPU of carob and its containerd with %d pods; whose, and that of the shims", d.pods), r.tell(), "under 3 %", r.own() < 3)
	return c.destroy()
}

type density struct {
	b    *bench
	c    *carob
	pods int
}

func (d *density) next(n int) []*corev1.Pod {
	d.pods += n
	return numbered("dense", d.pods-n+1, n, "a", "b")
}

func (d *density) oneByOne(ctx context.Context, n int) ([]time.Duration, error) {
	var all []time.Duration
	for _, p := range d.next(n) {
		s, err := d.c.startPod(ctx, p)
		if err != nil {
			return nil, err
		}
		all = append(all, s.took())
	}
	return all, nil
}

func (d *density) grow(ctx context.Context, to int) error {
	if to <= d.pods {
		return nil
	}
	_, err := d.c.startPods(ctx, d.next(to-d.pods), 8)
	return err
}

// calm is what an instance does that has nothing to do.
type calm struct {
	all float64   // CPU, in percent of a core
	cpu byProgram // the same, in hundredths of a percent
}

// shims are the programs that each pod has one of.
const shims = "containerd-shim-runc-v2"

// own is the CPU that does not come with each pod by itself: all but the
// shims'.
func (r calm) own() float64 { return max(0, r.all-float64(r.cpu[shims])/100) }

func (r calm) tell() string {
	return fmt.Sprintf("%.1f %% of a core; %s", r.own(), r.cpu.tell(func(n int64) string { return fmt.Sprintf("%.1f %%", float64(n)/100) }))
}

// idle leaves an instance alone, and then watches it for so long.
func (b *bench) idle(ctx context.Context, m *meter, long time.Duration) (calm, error) {
	if err := settle(ctx, b.calm); err != nil {
		return calm{}, err
	}
	return b.watch(ctx, m, long)
}

// watch tells what an instance uses in so long a time.
func (b *bench) watch(ctx context.Context, m *meter, long time.Duration) (r calm, err error) {
	read := func() (cpu time.Duration, ticks byProgram, err error) {
		if cpu, err = m.ownCPU(); err != nil {
			return
		}
		ticks, err = m.ticks()
		return
	}
	began := time.Now()
	cpu, ticks, err := read()
	if err != nil {
		return r, err
	}
	if err := settle(ctx, long); err != nil {
		return r, err
	}
	took := time.Since(began)
	endCPU, endTicks, err := read()
	if err != nil {
		return r, err
	}
	share := endTicks.since(ticks)
	for k, n := range share {
		share[k] = int64(float64(100*n) / took.Seconds())
	}
	return calm{100 * ratio(endCPU-cpu, took), share}, nil
}

func (d *density) hundred(ctx context.Context) error {
	if err := d.grow(ctx, d.b.n(100)); err != nil {
		return err
	}
	if err := settle(ctx, settleTime); err != nil {
		return err
	}
	m, err := memoryOf(d.c.pid())
	if err != nil {
		return err
	}
	d.b.report.row(fmt.Sprintf("memory (Pss) of carob with %d pods", d.pods), mib(m.pss), "at most 140 MiB", m.pss <= 140<<10)
	if err := d.beyond(); err != nil {
		return err
	}
	return d.warm(ctx)
}

// beyond counts the processes that the pods need beside those of their
// containers: what runs in carob's control group, without the processes that
// it has whatever the number of pods.
func (d *density) beyond() error {
	pids, err := d.c.meter.pids()
	if err != nil {
		return err
	}
	found, others := 0, 0
	var memory int64
	for _, pid := range pids {
		if commandOf(pid) != shims {
			others++
			continue
		}
		m, err := memoryOf(pid)
		if err != nil {
			return err
		}
		found, memory = found+1, memory+m.pss
	}
	d.b.report.row(fmt.Sprintf("processes of %d idle pods beyond their containers': shims; others, for all pods together (%d)", d.pods, others),
		fmt.Sprintf("%.2f a pod", float64(found)/float64(d.pods)), "one shim", found == d.pods && others <= 3)
	d.b.report.row("memory (Pss) of a shim, in the mean", mib(memory/int64(max(1, found))), "", true)
	return nil
}

// warm starts carob again beside its running pods.
func (d *density) warm(ctx context.Context) error {
	before, err := d.lives(ctx)
	if err != nil {
		return err
	}
	if err := d.c.stop(); err != nil {
		return err
	}
	began := time.Now()
	ready, err := d.c.up(ctx)
	if err != nil {
		return err
	}
	if err := d.nodeReady(ctx, began); err != nil {
		return err
	}
	took := time.Since(began)
	after, err := d.lives(ctx)
	if err != nil {
		return err
	}
	kept := 0
	for id := range after {
		if before[id] {
			kept++
		}
	}
	d.b.report.row(fmt.Sprintf("`carob up` beside %d running pods until its Node is Ready and it has taken up all of them (/readyz after %s)", d.pods, ms(ready)),
		fmt.Sprintf("%s, %d of %d containers the same", ms(took), kept, len(before)), "at most 2000 ms, all", took <= 2*time.Second && kept == len(before))
	return nil
}

// lives are the IDs of all running containers, with their starts.
func (d *density) lives(ctx context.Context) (map[string]bool, error) {
	list, err := d.c.pods().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, p := range list.Items {
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Running != nil {
				all[fmt.Sprint(s.ContainerID, s.RestartCount, s.State.Running.StartedAt)] = true
			}
		}
	}
	return all, nil
}

// nodeReady waits until the Node says Ready with a heartbeat since then. carob
// says that it is ready when every pod has its worker.
func (d *density) nodeReady(ctx context.Context, since time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	w, err := d.c.client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	return await(ctx, w, func(e watch.Event) bool {
		for _, cond := range e.Object.(*corev1.Node).Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue && !cond.LastHeartbeatTime.Time.Before(since.Truncate(time.Second)) {
				return true
			}
		}
		return false
	})
}

// fill leaves room for a last sample.
func (d *density) fill(ctx context.Context) error { return d.grow(ctx, d.b.n(300)-sample) }
