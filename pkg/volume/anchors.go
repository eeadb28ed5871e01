package volume

import (
	"context"
	"encoding/pem"
	"fmt"
	"maps"
	"path"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// anchors returns the file of the certificates that a source of a projected
// volume names.
func (m *Manager) anchors(ctx context.Context, s *corev1.ClusterTrustBundleProjection, mode int32) (payload, error) {
	bundles, err := m.bundles(ctx, s)
	if err != nil {
		return nil, err
	}
	return payload{path.Clean(s.Path): file{data: canonical(bundles), mode: mode}}, nil
}

func (m *Manager) bundles(ctx context.Context, s *corev1.ClusterTrustBundleProjection) ([]certificatesv1.ClusterTrustBundle, error) {
	optional := or(s.Optional, false)
	if s.Name != nil {
		b, err := m.opts.Objects.TrustBundle(ctx, *s.Name)
		switch {
		case err == nil:
			return []certificatesv1.ClusterTrustBundle{*b}, nil
		case !isNotFound(err):
			return nil, fmt.Errorf("while getting ClusterTrustBundle: %w", err)
		case optional:
			return nil, nil
		}
		return nil, invalid("while getting ClusterTrustBundle: %v", apierrors.NewNotFound(certificatesv1.Resource("clustertrustbundle"), *s.Name))
	}
	if s.SignerName == nil {
		return nil, invalid("ClusterTrustBundle projection requires either name or signerName to be set")
	}
	selector, err := metav1.LabelSelectorAsSelector(s.LabelSelector)
	if err != nil {
		return nil, invalid("while parsing label selector: %v", err)
	}
	found, err := m.opts.Objects.TrustBundles(ctx, *s.SignerName, selector)
	if err != nil {
		return nil, fmt.Errorf("while listing ClusterTrustBundles matching label selector %v: %w", s.LabelSelector, err)
	}
	if len(found) == 0 && !optional {
		return nil, invalid("combination of signerName and labelSelector matched zero ClusterTrustBundles")
	}
	return found, nil
}

// canonical joins bundles: each certificate once and without what stands around
// it, in an order that depends on nothing else. Nobody may rely on which.
func canonical(bundles []certificatesv1.ClusterTrustBundle) []byte {
	certificates := map[string]bool{}
	for i := range bundles {
		rest := []byte(bundles[i].Spec.TrustBundle)
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			certificates[string(block.Bytes)] = true
		}
	}
	out := []byte{}
	for _, der := range slices.Sorted(maps.Keys(certificates)) {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(der)})...)
	}
	return out
}
