package folder

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/controller/resources"
)

// Resolve finds out what serves the kinds of the documents, and gives those that
// live in a namespace and name none the one given. complete is false where a
// kind is not known. The files given are left as they are.
func Resolve(files []File, served resources.Set, namespace string) (out []File, complete bool) {
	complete = true
	for _, f := range files {
		now := f
		now.Problems, now.Documents = slices.Clone(f.Problems), nil
		for _, was := range f.Documents {
			d := *was
			r, ok := served.ForKind(d.APIVersion, d.Kind)
			switch {
			case !ok:
				now.fault(d.at, "kind", fmt.Sprintf("Unsupported value: the API serves no %s of %s", d.Kind, d.APIVersion))
				complete = false
			case r.GVR.GroupVersion().String() != d.APIVersion:
				now.fault(d.at, "apiVersion", fmt.Sprintf("Unsupported value: %s is served in %s", d.Kind, r.GVR.GroupVersion()))
			case !r.Can("get", "patch", "delete", "list", "watch"):
				now.fault(d.at, "kind", fmt.Sprintf("Forbidden: a %s cannot be kept", d.Kind))
			case !r.Namespaced && d.Namespace != "":
				now.fault(d.at, "metadata.namespace", fmt.Sprintf("Forbidden: a %s is in no namespace", d.Kind))
			case r.Namespaced && d.Namespace == "":
				d.Namespace = namespace
			}
			d.Resource = r
			now.Documents = append(now.Documents, &d)
		}
		out = append(out, now)
	}
	return out, complete
}

// DefaultNamespace is where objects go that name no namespace.
const DefaultNamespace = metav1.NamespaceDefault

// rank is the order in which kinds are made; they go the other way round.
func rank(k Key) int {
	order := [][]string{
		{"Namespace"}, {"CustomResourceDefinition"}, {"PriorityClass", "RuntimeClass", "StorageClass", "PersistentVolume", "IngressClass"},
		{"ServiceAccount", "Role", "ClusterRole"}, {"RoleBinding", "ClusterRoleBinding", "LimitRange", "ResourceQuota", "PodDisruptionBudget"},
		{"Secret", "ConfigMap", "PersistentVolumeClaim"}, {"Service", "NetworkPolicy"},
	}
	for i, kinds := range order {
		if slices.Contains(kinds, k.Kind) {
			return i
		}
	}
	return len(order)
}
