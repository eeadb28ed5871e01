package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/carob-project/carob/pkg/pod"
)

func now() time.Time { return time.Now() }

func isNotFound(err error) bool {
	return apierrors.IsNotFound(err) || errors.Is(err, pod.ErrNotFound)
}

// payload resolves the objects of a volume and returns its files.
func (m *Manager) payload(ctx context.Context, p *corev1.Pod, v *corev1.Volume) (payload, error) {
	switch {
	case v.ConfigMap != nil:
		s := v.ConfigMap
		return m.configMap(ctx, p.Namespace, s.Name, s.Items, or(s.DefaultMode, defaultMode), or(s.Optional, false))
	case v.Secret != nil:
		s := v.Secret
		return m.secret(ctx, p.Namespace, s.SecretName, s.Items, or(s.DefaultMode, defaultMode), or(s.Optional, false))
	case v.DownwardAPI != nil:
		s := v.DownwardAPI
		return downwardPayload(p, s.Items, or(s.DefaultMode, defaultMode), m.opts.Allocatable())
	case v.Projected != nil:
		return m.projected(ctx, p, v.Projected)
	}
	return nil, unsupported(kindOf(v))
}

// projected joins its sources; of two files with one path the later one counts.
func (m *Manager) projected(ctx context.Context, p *corev1.Pod, s *corev1.ProjectedVolumeSource) (payload, error) {
	all := payload{}
	mode := or(s.DefaultMode, defaultMode)
	for i := range s.Sources {
		var part payload
		var err error
		switch src := &s.Sources[i]; {
		case src.ConfigMap != nil:
			c := src.ConfigMap
			part, err = m.configMap(ctx, p.Namespace, c.Name, c.Items, mode, or(c.Optional, false))
		case src.Secret != nil:
			c := src.Secret
			part, err = m.secret(ctx, p.Namespace, c.Name, c.Items, mode, or(c.Optional, false))
		case src.DownwardAPI != nil:
			part, err = downwardPayload(p, src.DownwardAPI.Items, mode, m.opts.Allocatable())
		case src.ServiceAccountToken != nil:
			part, err = m.tokenPayload(ctx, p, src.ServiceAccountToken, mode)
		case src.ClusterTrustBundle != nil:
			part, err = m.anchors(ctx, src.ClusterTrustBundle, mode)
		default:
			err = unsupported(fmt.Sprintf("source %d of a projected volume", i))
		}
		if err != nil {
			return nil, err
		}
		maps.Copy(all, part)
	}
	return all, all.check()
}

func (m *Manager) configMap(ctx context.Context, namespace, name string, items []corev1.KeyToPath, mode int32, optional bool) (payload, error) {
	var data map[string][]byte
	c, err := m.opts.Objects.ConfigMap(ctx, namespace, name)
	switch {
	case err == nil:
		data = configMapData(c)
	case !isNotFound(err):
		return nil, fmt.Errorf("reading configmap %q: %w", name, err)
	case !optional:
		return nil, invalid("configmap %q not found", name)
	}
	return objectPayload("config", data, items, mode, optional)
}

func (m *Manager) secret(ctx context.Context, namespace, name string, items []corev1.KeyToPath, mode int32, optional bool) (payload, error) {
	var data map[string][]byte
	s, err := m.opts.Objects.Secret(ctx, namespace, name)
	switch {
	case err == nil:
		data = s.Data
	case !isNotFound(err):
		return nil, fmt.Errorf("reading secret %q: %w", name, err)
	case !optional:
		return nil, invalid("secret %q not found", name)
	}
	return objectPayload("secret", data, items, mode, optional)
}
