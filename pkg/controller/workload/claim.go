package workload

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Claims says what is to be done about the objects that may belong to an owner.
type Claims[T metav1.Object] struct {
	// Mine are those that belong to it already.
	Mine []T
	// Adopt are those that nobody owns and that its selector finds; Release
	// are those it owns and its selector no longer finds.
	Adopt, Release []T
}

// Claim sorts objects of the owner's namespace. An owner that is being deleted
// neither adopts nor releases; what is being deleted is not adopted.
func Claim[T metav1.Object](owner metav1.Object, selector labels.Selector, objects []T) Claims[T] {
	var c Claims[T]
	for _, o := range objects {
		matches := selector.Matches(labels.Set(o.GetLabels()))
		ref := metav1.GetControllerOfNoCopy(o)
		switch {
		case ref == nil && matches && owner.GetDeletionTimestamp() == nil && o.GetDeletionTimestamp() == nil:
			c.Adopt = append(c.Adopt, o)
		case ref == nil || ref.UID != owner.GetUID():
		case matches:
			c.Mine = append(c.Mine, o)
		case owner.GetDeletionTimestamp() == nil:
			c.Release = append(c.Release, o)
		}
	}
	return c
}
