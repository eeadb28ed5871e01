// Package persistentvolume declares the PersistentVolume kind: its defaults,
// what a valid one is, how it may change and how it is printed. It must not know
// how volumes are bound or mounted.
package persistentvolume

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	storagevolume "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/persistentvolumeclaim"
)

type rules = kind.Rules[*corev1.PersistentVolume]

// Kind declares PersistentVolume.
func Kind() kind.Kind[*corev1.PersistentVolume] {
	spec, status := corev1.PersistentVolumeSpec{}.SwaggerDoc(), corev1.PersistentVolumeStatus{}.SwaggerDoc()
	return kind.Kind[*corev1.PersistentVolume]{
		GVK:                 corev1.SchemeGroupVersion.WithKind("PersistentVolume"),
		Resource:            "persistentvolumes",
		Singular:            "persistentvolume",
		ShortNames:          []string{"pv"},
		UnconditionalUpdate: true,
		New:                 func() *corev1.PersistentVolume { return &corev1.PersistentVolume{} },
		NewList:             func() runtime.Object { return &corev1.PersistentVolumeList{} },
		Main:                mainRules(),
		Fields:              func(v *corev1.PersistentVolume) fields.Set { return fields.Set{"name": v.Name} },
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Capacity", "string", spec["capacity"], false),
			kind.Column("Access Modes", "string", spec["accessModes"], false),
			kind.Column("Reclaim Policy", "string", spec["persistentVolumeReclaimPolicy"], false),
			kind.Column("Status", "string", status["phase"], false),
			kind.Column("Claim", "string", spec["claimRef"], false),
			kind.Column("StorageClass", "string", "StorageClass of the pv", false),
			kind.Column("VolumeAttributesClass", "string", "VolumeAttributesClass of the pv", false),
			kind.Column("Reason", "string", status["reason"], false),
			kind.AgeColumn(),
			kind.Column("VolumeMode", "string", spec["volumeMode"], true),
		},
		Row: row,
	}
}

func row(v *corev1.PersistentVolume) []any {
	phase, claim := string(v.Status.Phase), ""
	if v.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	if r := v.Spec.ClaimRef; r != nil {
		claim = r.Namespace + "/" + r.Name
	}
	return []any{
		v.Name, v.Spec.Capacity.Storage().String(), persistentvolumeclaim.Modes(v.Spec.AccessModes),
		string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim, storagevolume.GetPersistentVolumeClass(v),
		ptr.Deref(v.Spec.VolumeAttributesClassName, "<unset>"), v.Status.Reason, kind.Age(v.CreationTimestamp),
		string(ptr.Deref(v.Spec.VolumeMode, "<unset>")),
	}
}

// AddToScheme registers defaults and selectable fields.
func AddToScheme(s *runtime.Scheme) error { return Kind().AddDefaultedToScheme(s, SetDefaults) }

// SetDefaults fills in what the API documents as defaults.
func SetDefaults(v *corev1.PersistentVolume) {
	if v.Status.Phase == "" {
		v.Status.Phase = corev1.VolumePending
	}
	if v.Spec.PersistentVolumeReclaimPolicy == "" {
		v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	}
	if v.Spec.VolumeMode == nil {
		v.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeFilesystem)
	}
	if h := v.Spec.HostPath; h != nil && h.Type == nil {
		h.Type = ptr.To(corev1.HostPathUnset)
	}
}

// NewStorage serves the kind with its status.
func NewStorage(getter generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	s, err := kind.NewREST(Kind(), getter)
	if err != nil {
		return nil, err
	}
	return map[string]rest.Storage{"persistentvolumes": s, "persistentvolumes/status": s.Sub(statusRules())}, nil
}
