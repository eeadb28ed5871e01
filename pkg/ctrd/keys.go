package ctrd

import (
	"context"
	"errors"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/carob-project/carob/pkg/pod"
)

const (
	// labelKeys tells with which credentials an image was pulled. An image
	// that was imported, or pulled without any, does not have it.
	labelKeys = "carob.dev/keys"
	// mostKeys bounds the label, which may have 4096 characters. Pods whose
	// key has been pushed out pull once more.
	mostKeys = 48
)

// keysAfter are the keys of an image once it has been pulled with a
// credential: as long as the name stands for the same image, whoever may use it
// keeps that right. Who needs none opens it to all.
func (r *Runtime) keysAfter(ctx context.Context, name string, target ocispec.Descriptor, used *pod.Credential) (string, error) {
	if used == nil || used.Node {
		return "", nil
	}
	is, err := r.client.ImageService().Get(ctx, name)
	if err = native(err); err != nil && !errors.Is(err, pod.ErrNotFound) {
		return "", err
	}
	same := err == nil && is.Target.Digest == target.Digest
	keys := strings.Fields(is.Labels[labelKeys])
	switch {
	case !same:
		keys = nil
	case len(keys) == 0:
		return "", nil
	}
	key := used.Key()
	keys = append(slices.DeleteFunc(keys, func(k string) bool { return k == key }), key)
	return strings.Join(keys[max(len(keys)-mostKeys, 0):], " "), nil
}

func keyLabels(instance, keys string) map[string]string {
	labels := map[string]string{labelInstance: instance}
	if keys != "" {
		labels[labelKeys] = keys
	}
	return labels
}
