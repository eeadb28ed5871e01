package workload

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/dump"
)

// Hash names a template in labels and names, as Kubernetes does. The count of
// collisions, if any, gives the same template another name.
func Hash(t *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	_, _ = fmt.Fprintf(h, "%v", dump.ForHash(*t))
	if collisions != nil {
		_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, uint64(uint32(*collisions))))
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// SameTemplate compares templates but for the given label.
func SameTemplate(a, b *corev1.PodTemplateSpec, except string) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	delete(a.Labels, except)
	delete(b.Labels, except)
	return apiequality.Semantic.DeepEqual(a, b)
}
