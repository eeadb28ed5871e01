package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// environment resolves the variables of a container, and tells of names that
// had to be left out.
func (w *worker) environment(ctx context.Context, p *corev1.Pod, container string, o pod.Observed) ([]pod.EnvVar, error) {
	c, _ := pod.FindContainer(p, container)
	if c == nil {
		return nil, fmt.Errorf("no container %q in the pod: %w", container, pod.ErrConfig)
	}
	src := pod.EnvSources{PodIPs: o.Sandbox.IPs, HostIPs: o.Node.HostIPs, Services: w.a.services(p), Allocatable: w.a.Allocatable()}
	if err := w.readSources(ctx, c, &src); err != nil {
		return nil, err
	}
	w.readFiles(p, c, &src)
	env, err := pod.EnvFor(p, c, src)
	if err != nil {
		return nil, err
	}
	for _, s := range env.Skipped {
		w.warning(p, container, reasonInvalidNames,
			"Keys [%s] from the EnvFrom %s %s/%s were skipped since they are considered invalid environment variable names.",
			strings.Join(s.Names, ", "), s.Kind, p.Namespace, s.Name)
	}
	return env.Vars, nil
}

// services are the variables by which a pod's containers find the API.
func (a *Agent) services(p *corev1.Pod) []pod.EnvVar {
	at := a.o.API
	if p.Spec.HostNetwork {
		at = a.o.HostAPI
	}
	if !at.IsValid() {
		return nil
	}
	return pod.ServiceEnv("kubernetes", "https", at.Addr().String(), at.Port())
}

// readFiles reads the files of the pod's volumes that a container's variables
// come from.
func (w *worker) readFiles(p *corev1.Pod, c *corev1.Container, src *pod.EnvSources) {
	volumes, ok := w.a.o.Volumes.(envFiles)
	if !ok {
		return
	}
	src.Files = map[pod.FileRef]pod.EnvFile{}
	for _, ref := range pod.EnvFiles(c) {
		if slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == ref.Volume && v.EmptyDir != nil }) {
			src.Files[ref] = volumes.EnvFile(w.ref.UID, ref)
		}
	}
}

// readSources reads the objects that a container's variables come from. One
// that does not exist is left out: whether that matters is not decided here.
func (w *worker) readSources(ctx context.Context, c *corev1.Container, src *pod.EnvSources) error {
	configMaps, secrets := pod.EnvRefs(c)
	client := w.a.o.Client.CoreV1()
	src.ConfigMaps = make(map[string]*corev1.ConfigMap, len(configMaps))
	for _, name := range configMaps {
		obj, err := client.ConfigMaps(w.ref.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading configmap %q: %w", name, err)
		}
		src.ConfigMaps[name] = obj
	}
	src.Secrets = make(map[string]*corev1.Secret, len(secrets))
	for _, name := range secrets {
		obj, err := client.Secrets(w.ref.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading secret %q: %w", name, err)
		}
		src.Secrets[name] = obj
	}
	return nil
}
