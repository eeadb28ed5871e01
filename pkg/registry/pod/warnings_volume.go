package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// sourcedPath is the path of a file in a volume, and what puts it there if the
// volume has several sources.
type sourcedPath struct {
	path, source string
}

func (p sourcedPath) String() string {
	if p.source == "" {
		return fmt.Sprintf("%q", p.path)
	}
	return fmt.Sprintf("%q (%s)", p.path, p.source)
}

// meets: two files are in each other's way where they are one, or where one has
// to be a directory for the other.
func (p sourcedPath) meets(other sourcedPath) bool {
	a, b := p.path+"/", other.path+"/"
	return p.path != "" && other.path != "" && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a))
}

// overlapWarnings are about volumes in which one file hides another.
func overlapWarnings(volumes []corev1.Volume) []string {
	var out []string
	for i := range volumes {
		v := &volumes[i]
		if c := v.ConfigMap; c != nil {
			out = append(out, overlaps(v.Name, fmt.Sprintf("ConfigMap %q", c.Name), itemPaths(c.Items, ""))...)
		}
		if s := v.Secret; s != nil {
			out = append(out, overlaps(v.Name, fmt.Sprintf("Secret %q", s.SecretName), itemPaths(s.Items, ""))...)
		}
		if d := v.DownwardAPI; d != nil {
			out = append(out, overlaps(v.Name, "DownwardAPI", downwardPaths(d.Items, ""))...)
		}
		if v.Projected == nil {
			continue
		}
		var paths []sourcedPath
		for j := range v.Projected.Sources {
			src := &v.Projected.Sources[j]
			if *src == (corev1.VolumeProjection{}) {
				out = append(out, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
			}
			paths = append(paths, projectedPaths(src)...)
		}
		out = append(out, overlaps(v.Name, "Projected", paths)...)
	}
	return out
}

func overlaps(volume, what string, paths []sourcedPath) []string {
	var out []string
	for i := range paths {
		paths[i].path = strings.TrimRight(paths[i].path, "/")
		for _, earlier := range paths[:i] {
			if paths[i].meets(earlier) {
				out = append(out, fmt.Sprintf("volume %q (%s): overlapping paths: %s with %s", volume, what, paths[i], earlier))
			}
		}
	}
	return out
}

func projectedPaths(s *corev1.VolumeProjection) []sourcedPath {
	switch {
	case s.ConfigMap != nil && s.ConfigMap.Items != nil:
		return itemPaths(s.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", s.ConfigMap.Name))
	case s.Secret != nil && s.Secret.Items != nil:
		return itemPaths(s.Secret.Items, fmt.Sprintf("Secret %q", s.Secret.Name))
	case s.DownwardAPI != nil && s.DownwardAPI.Items != nil:
		return downwardPaths(s.DownwardAPI.Items, "DownwardAPI")
	case s.ServiceAccountToken != nil:
		return []sourcedPath{{s.ServiceAccountToken.Path, "ServiceAccountToken"}}
	case s.ClusterTrustBundle != nil:
		name := ptr.Deref(s.ClusterTrustBundle.Name, ptr.Deref(s.ClusterTrustBundle.SignerName, ""))
		return []sourcedPath{{s.ClusterTrustBundle.Path, fmt.Sprintf("ClusterTrustBundle %q", name)}}
	}
	return nil
}

func itemPaths(items []corev1.KeyToPath, source string) []sourcedPath {
	paths := make([]sourcedPath, len(items))
	for i, item := range items {
		paths[i] = sourcedPath{item.Path, source}
	}
	return paths
}

func downwardPaths(items []corev1.DownwardAPIVolumeFile, source string) []sourcedPath {
	paths := make([]sourcedPath, len(items))
	for i, item := range items {
		paths[i] = sourcedPath{item.Path, source}
	}
	return paths
}
