package localvolume

import (
	corev1 "k8s.io/api/core/v1"
)

// Enforced says whether directories are held to their capacity.
func (Dirs) Enforced() bool { return false }

func (Dirs) bound(string, *corev1.PersistentVolume) error { return nil }

func (Dirs) free(string) error { return nil }
