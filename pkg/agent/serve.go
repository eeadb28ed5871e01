package agent

import (
	"context"
	"net"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/agent/server"
	"github.com/carob-project/carob/pkg/pod"
)

// streamsEnd is how long the end of the agent waits for what ran inside of
// containers for its clients.
const streamsEnd = 5 * time.Second

// serve answers for logs, streams and health until ctx ends.
func (a *Agent) serve(ctx context.Context, l net.Listener) {
	var in server.Inside
	if a.o.Inside != nil {
		in = inside{a.o.Inside, a}
	}
	h := server.NewHandler(a, a.o.LogReader, in, a.log)
	if a.o.Meter != nil {
		h.ServeMetrics(a)
	}
	if err := server.Serve(ctx, l, h); err != nil {
		a.log.Error("logs are not served any more", zap.Error(err))
	}
	wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), streamsEnd)
	defer cancel()
	h.Wait(wctx)
}

// FindPod implements server.Pods.
func (a *Agent) FindPod(namespace, name string) (*corev1.Pod, []pod.Attempt, bool) {
	a.mu.Lock()
	w := a.workers[a.names[types.NamespacedName{Namespace: namespace, Name: name}]]
	a.mu.Unlock()
	if w == nil {
		return nil, nil, false
	}
	// A runtime that does not answer has told what there was before.
	attempts, _ := a.view.cached(w.ref.UID)
	return w.snapshot(), slices.Clone(attempts), true
}

// nodeImages returns the Node's list of images: one entry an image, with all
// its names, the largest first as Kubernetes shows them.
func nodeImages(images []pod.Image) []corev1.ContainerImage {
	byID := map[string]*corev1.ContainerImage{}
	for _, img := range images {
		e := byID[img.ID]
		if e == nil {
			e = &corev1.ContainerImage{SizeBytes: img.Size}
			byID[img.ID] = e
		}
		if !slices.Contains(e.Names, img.Name) {
			e.Names = append(e.Names, img.Name)
		}
	}
	out := make([]corev1.ContainerImage, 0, len(byID))
	for _, e := range byID {
		slices.Sort(e.Names)
		out = append(out, *e)
	}
	slices.SortFunc(out, func(x, y corev1.ContainerImage) int {
		if x.SizeBytes != y.SizeBytes {
			return int(min(max(y.SizeBytes-x.SizeBytes, -1), 1))
		}
		return slices.Compare(x.Names, y.Names)
	})
	return out[:min(len(out), maxNodeImages)]
}

// maxNodeImages keeps the Node object small.
const maxNodeImages = 50
