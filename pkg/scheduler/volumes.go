package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	storagevolume "k8s.io/component-helpers/storage/volume"

	"github.com/carob-project/carob/pkg/claim"
)

// Why a node, or every node, will not do for a pod's claims.
const (
	ReasonVolumeElsewhere = "node(s) didn't match PersistentVolume's node affinity"
	ReasonNoVolume        = "node(s) didn't find available persistent volumes to bind"
	ReasonVolumeGone      = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
	ReasonClaimInUse      = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"

	unboundImmediate = "pod has unbound immediate PersistentVolumeClaims"
)

// storage is what the snapshot knows of volumes. Claims are by namespace and
// name.
type storage struct {
	volumes map[string]*corev1.PersistentVolume
	claims  map[string]*corev1.PersistentVolumeClaim
	classes map[string]*storagev1.StorageClass
}

func newStorage() storage {
	return storage{map[string]*corev1.PersistentVolume{}, map[string]*corev1.PersistentVolumeClaim{}, map[string]*storagev1.StorageClass{}}
}

// SetVolume, SetClaim and SetClass learn an object, the Remove methods forget
// it.
func (s *Snapshot) SetVolume(v *corev1.PersistentVolume) { s.storage.volumes[v.Name] = v }

// RemoveVolume forgets a volume.
func (s *Snapshot) RemoveVolume(name string) { delete(s.storage.volumes, name) }

// SetClaim learns a claim.
func (s *Snapshot) SetClaim(c *corev1.PersistentVolumeClaim) {
	s.storage.claims[c.Namespace+"/"+c.Name] = c
}

// RemoveClaim forgets a claim.
func (s *Snapshot) RemoveClaim(namespace, name string) {
	delete(s.storage.claims, namespace+"/"+name)
}

// SetClass learns a class.
func (s *Snapshot) SetClass(c *storagev1.StorageClass) { s.storage.classes[c.Name] = c }

// RemoveClass forgets a class.
func (s *Snapshot) RemoveClass(name string) { delete(s.storage.classes, name) }

// needs are the claims of a pod, as the filters see them. Nil is a pod without.
type needs struct {
	bound   []*corev1.PersistentVolume
	late    []*corev1.PersistentVolumeClaim
	gone    bool
	blocked bool
	// conflict, if set, is why no node will do.
	conflict string
	storage  *storage
	sorted   []*corev1.PersistentVolume
}

// needsOf finds the claims of a pod.
func needsOf(p *corev1.Pod, s *Snapshot) *needs {
	var n *needs
	immediate := false
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		name := claim.Of(p, v)
		if name == "" {
			continue
		}
		if n == nil {
			n = &needs{storage: &s.storage}
		}
		c := s.storage.claims[p.Namespace+"/"+name]
		if why := unusable(p, v, c, name); why != "" {
			n.conflict = why
			return n
		}
		switch {
		case bound(c):
			if volume := s.storage.volumes[c.Spec.VolumeName]; volume != nil {
				n.bound = append(n.bound, volume)
			} else {
				n.gone = true
			}
		case s.storage.waits(c):
			n.late = append(n.late, c)
		default:
			immediate = true
		}
		n.blocked = n.blocked || slices.Contains(c.Spec.AccessModes, corev1.ReadWriteOncePod) && s.used(p, c)
	}
	if immediate {
		n.conflict = unboundImmediate
	}
	if n != nil && len(n.late) > 0 {
		for _, name := range slices.Sorted(maps.Keys(s.storage.volumes)) {
			n.sorted = append(n.sorted, s.storage.volumes[name])
		}
	}
	return n
}

func bound(c *corev1.PersistentVolumeClaim) bool {
	return c.Spec.VolumeName != "" && metav1.HasAnnotation(c.ObjectMeta, storagevolume.AnnBindCompleted)
}

// unusable says why a pod cannot have the claim at all.
func unusable(p *corev1.Pod, v *corev1.Volume, c *corev1.PersistentVolumeClaim, name string) string {
	switch {
	case c == nil && v.Ephemeral != nil:
		return fmt.Sprintf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
	case c == nil:
		return fmt.Sprintf("persistentvolumeclaim %q not found", name)
	case c.Status.Phase == corev1.ClaimLost:
		return fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", name, c.Spec.VolumeName)
	case c.DeletionTimestamp != nil:
		return fmt.Sprintf("persistentvolumeclaim %q is being deleted", name)
	case v.Ephemeral != nil:
		if err := ephemeral.VolumeIsForPod(p, c); err != nil {
			return err.Error()
		}
	}
	return ""
}

// waits reports whether a claim is bound only when a pod has a node.
func (s *storage) waits(c *corev1.PersistentVolumeClaim) bool {
	class := s.classes[storagevolume.GetPersistentVolumeClaimClass(c)]
	return c.Spec.VolumeName == "" && class != nil && class.VolumeBindingMode != nil &&
		*class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// used reports whether another pod that has a node uses the claim.
func (s *Snapshot) used(p *corev1.Pod, c *corev1.PersistentVolumeClaim) bool {
	for uid, other := range s.pods {
		if uid != p.UID && claim.Uses(other.pod, c) {
			return true
		}
	}
	return false
}

// filter checks the volumes of the claims against a node.
func (n *needs) filter(node *corev1.Node, reject func(why)) {
	if n == nil {
		return
	}
	if n.blocked {
		reject(why{reason: ReasonClaimInUse})
		return
	}
	rejected := false
	lasting := func(reason string) { rejected = true; reject(why{reason: reason, lasting: true}) }
	for _, v := range n.bound {
		if storagevolume.CheckNodeAffinity(v, node.Labels) != nil {
			lasting(ReasonVolumeElsewhere)
			break
		}
	}
	if n.gone {
		lasting(ReasonVolumeGone)
	}
	if rejected || len(n.late) == 0 {
		return
	}
	if _, ok := n.choose(node); !ok {
		lasting(ReasonNoVolume)
	}
}

// VolumeChoice is what a claim gets on the chosen node: a volume that is there,
// or, where it is nil, one that is to be made.
type VolumeChoice struct {
	Claim  *corev1.PersistentVolumeClaim
	Volume *corev1.PersistentVolume
}

// choose finds a volume for each claim that waits for a node.
func (n *needs) choose(node *corev1.Node) ([]VolumeChoice, bool) {
	var out []VolumeChoice
	taken := map[string]*corev1.PersistentVolume{}
	for _, c := range n.bySize() {
		on, selected := c.Annotations[storagevolume.AnnSelectedNode]
		if selected && on != node.Name {
			return nil, false
		}
		if !selected {
			v, err := storagevolume.FindMatchingVolume(c, n.sorted, node, taken, false, false)
			if err == nil && v != nil {
				taken[v.Name] = v
				out = append(out, VolumeChoice{c, v})
				continue
			}
		}
		if !n.canBeMade(c, node) {
			return nil, false
		}
		out = append(out, VolumeChoice{Claim: c})
	}
	return out, true
}

// bySize are the claims, the smallest first: so each gets the volume that is
// just large enough.
func (n *needs) bySize() []*corev1.PersistentVolumeClaim {
	return slices.SortedStableFunc(slices.Values(n.late), func(a, b *corev1.PersistentVolumeClaim) int {
		return a.Spec.Resources.Requests.Storage().Cmp(*b.Spec.Resources.Requests.Storage())
	})
}

func (n *needs) canBeMade(c *corev1.PersistentVolumeClaim, node *corev1.Node) bool {
	class := n.storage.classes[storagevolume.GetPersistentVolumeClaimClass(c)]
	if class == nil || strings.HasPrefix(class.Provisioner, "kubernetes.io/") || c.Spec.Selector != nil && class.Provisioner == claim.Provisioner {
		return false
	}
	if len(class.AllowedTopologies) == 0 {
		return true
	}
	return slices.ContainsFunc(class.AllowedTopologies, func(t corev1.TopologySelectorTerm) bool {
		for _, e := range t.MatchLabelExpressions {
			if v, ok := node.Labels[e.Key]; !ok || !slices.Contains(e.Values, v) {
				return false
			}
		}
		return true
	})
}

// Volumes says which volumes the claims of a pod get on the node that was chosen
// for it. The pod has to wait until they are bound; none means that it need not.
func Volumes(p *corev1.Pod, s *Snapshot, node string) []VolumeChoice {
	n, info := needsOf(p, s), s.nodes[node]
	if n == nil || len(n.late) == 0 || info == nil || info.node == nil {
		return nil
	}
	choices, _ := n.choose(info.node)
	return choices
}
