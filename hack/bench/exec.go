package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// exec compares `true` in a container through the API with runc exec, in turns.
func (b *bench) exec(ctx context.Context) error {
	c, err := b.carob(ctx)
	if err != nil {
		return err
	}
	r, err := b.runc(ctx, c)
	if err != nil {
		return err
	}
	if _, err := r.once(ctx); err != nil {
		return err
	}
	var api, hand []time.Duration
	for i := range b.rounds + warmUp {
		through, err := c.execTrue(ctx, "model", "a")
		if err != nil {
			return fmt.Errorf("exec through the API: %w", err)
		}
		direct, err := r.execTrue(ctx)
		if err != nil {
			return err
		}
		if i >= warmUp {
			api, hand = append(api, through), append(hand, direct)
		}
	}
	most := median(hand)*3/2 + 10*time.Millisecond
	b.report.row("exec of `true` through the API, round trip; `runc exec` of the same: "+ms(median(hand)), ms(median(api)),
		"at most 1.5 times plus 10 ms: "+ms(most), median(api) <= most)
	return r.remove(ctx)
}

func (c *carob) execTrue(ctx context.Context, pod, container string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var said bytes.Buffer
	url := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(metav1.NamespaceDefault).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: []string{"true"}, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	began := time.Now()
	e, err := remotecommand.NewWebSocketExecutor(c.config, "GET", url.String())
	if err != nil {
		return 0, err
	}
	if err := e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &said, Stderr: &said}); err != nil {
		return 0, fmt.Errorf("%w: %s", err, said.String())
	}
	return time.Since(began), nil
}
