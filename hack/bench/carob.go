package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/internal/testimage"
)

// timeout bounds each single thing that is measured.
const timeout = time.Minute

type carob struct {
	bin, data, run, listen string
	cmd                    *exec.Cmd
	client                 kubernetes.Interface
}

func newCarob(bin, dir string) *carob {
	return &carob{bin: bin, data: filepath.Join(dir, "data"), run: filepath.Join(dir, "run")}
}

func (c *carob) pid() int { return c.cmd.Process.Pid }

func (c *carob) flags() []string { return []string{"--data-dir", c.data, "--run-dir", c.run} }

func (c *carob) command(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, c.bin, append(args, c.flags()...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("carob %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// up starts carob and returns how long it took until /readyz answered.
func (c *carob) up(ctx context.Context) (time.Duration, error) {
	if c.listen == "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		c.listen = l.Addr().String()
		_ = l.Close()
	}
	began := time.Now()
	c.cmd = exec.Command(c.bin, append([]string{"up", "--listen", c.listen, "--cni-conf-dir", filepath.Join(c.data, "none"),
		// A nearly full disk is not what is measured.
		"--eviction-hard", "memory.available=50Mi,nodefs.available=1%",
	}, c.flags()...)...)
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	c.cmd.Stderr = os.Stderr
	if err := c.cmd.Start(); err != nil {
		return 0, err
	}
	// One that does not become ready is ended, and its output with it.
	patience := time.AfterFunc(timeout, func() { _ = c.cmd.Process.Kill() })
	defer patience.Stop()
	s := bufio.NewScanner(out)
	for s.Scan() {
		if strings.HasPrefix(s.Text(), "carob is ready") {
			took := time.Since(began)
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return took, c.connect(ctx)
		}
	}
	return 0, errors.Join(errors.New("carob up ended"), c.cmd.Wait())
}

func (c *carob) connect(ctx context.Context) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.data, "admin.kubeconfig"))
	if err != nil {
		return err
	}
	cfg.QPS, cfg.Burst = -1, 0
	if c.client, err = kubernetes.NewForConfig(cfg); err != nil {
		return err
	}
	body, err := c.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	if err != nil || string(body) != "ok" {
		return fmt.Errorf("/readyz: %q %w", body, err)
	}
	return nil
}

func (c *carob) stop() error {
	if c.cmd == nil || c.cmd.ProcessState != nil {
		return nil
	}
	if err := c.cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return c.cmd.Wait()
}

func (c *carob) restart(ctx context.Context) (time.Duration, error) {
	if err := c.stop(); err != nil {
		return 0, err
	}
	return c.up(ctx)
}

func (c *carob) destroy() error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return errors.Join(c.stop(), c.command(ctx, "reset", "--yes"))
}

func (c *carob) importImage(ctx context.Context, tar string) error {
	return c.command(ctx, "image", "import", tar)
}

func benchPod(name string) *corev1.Pod {
	sleeper := func(n string) corev1.Container {
		return corev1.Container{Name: n, Image: testimage.DefaultName, Command: []string{"sleep", "100000"}}
	}
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](0),
			Containers:                    []corev1.Container{sleeper("a"), sleeper("b")},
		},
	}
}

// once starts a pod and removes it: how long from the create call until a
// watch saw both containers running, and from the delete call until the object
// was gone.
func (c *carob) once(ctx context.Context, round int) (start, end time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	p := benchPod(fmt.Sprintf("bench-%d", round))
	pods := c.client.CoreV1().Pods("default")
	w, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", p.Name).String()})
	if err != nil {
		return 0, 0, err
	}
	defer w.Stop()
	began := time.Now()
	if _, err := pods.Create(ctx, p, metav1.CreateOptions{}); err != nil {
		return 0, 0, err
	}
	if err := await(ctx, w, func(e watch.Event) bool { return e.Type != watch.Deleted && running(e.Object.(*corev1.Pod)) }); err != nil {
		return 0, 0, err
	}
	start = time.Since(began)
	began = time.Now()
	if err := pods.Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](1)}); err != nil {
		return 0, 0, err
	}
	if err := await(ctx, w, func(e watch.Event) bool { return e.Type == watch.Deleted }); err != nil {
		return 0, 0, err
	}
	return start, time.Since(began), nil
}

func await(ctx context.Context, w watch.Interface, done func(watch.Event) bool) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.ResultChan():
			if !ok {
				return errors.New("the watch ended")
			}
			if e.Type == watch.Error {
				return apierrors.FromObject(e.Object)
			}
			if done(e) {
				return nil
			}
		}
	}
}

func running(p *corev1.Pod) bool {
	n := 0
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Running != nil {
			n++
		}
	}
	return p.Status.Phase == corev1.PodRunning && n == len(p.Spec.Containers)
}

// many starts n pods at once and returns when all run.
func (c *carob) many(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*timeout)
	defer cancel()
	pods := c.client.CoreV1().Pods("default")
	w, err := pods.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	var g errgroup.Group
	for i := range n {
		g.Go(func() error {
			_, err := pods.Create(ctx, benchPod(fmt.Sprintf("many-%d", i)), metav1.CreateOptions{})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	up := map[string]bool{}
	return await(ctx, w, func(e watch.Event) bool {
		if p := e.Object.(*corev1.Pod); e.Type != watch.Deleted && strings.HasPrefix(p.Name, "many-") && running(p) {
			up[p.Name] = true
		}
		return len(up) == n
	})
}
