// Package persistentvolumeclaim declares the PersistentVolumeClaim kind: its
// defaults, what a valid one is, how it may change and how it is printed. It
// must not know how claims are bound.
package persistentvolumeclaim

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	storagevolume "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind"
)

type rules = kind.Rules[*corev1.PersistentVolumeClaim]

// Kind declares PersistentVolumeClaim.
func Kind() kind.Kind[*corev1.PersistentVolumeClaim] {
	spec, status := corev1.PersistentVolumeClaimSpec{}.SwaggerDoc(), corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()
	return kind.Kind[*corev1.PersistentVolumeClaim]{
		GVK:                 corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"),
		Resource:            "persistentvolumeclaims",
		Singular:            "persistentvolumeclaim",
		ShortNames:          []string{"pvc"},
		Namespaced:          true,
		UnconditionalUpdate: true,
		New:                 func() *corev1.PersistentVolumeClaim { return &corev1.PersistentVolumeClaim{} },
		NewList:             func() runtime.Object { return &corev1.PersistentVolumeClaimList{} },
		Main:                mainRules(),
		Fields:              func(c *corev1.PersistentVolumeClaim) fields.Set { return fields.Set{"name": c.Name} },
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Status", "string", status["phase"], false),
			kind.Column("Volume", "string", spec["volumeName"], false),
			kind.Column("Capacity", "string", status["capacity"], false),
			kind.Column("Access Modes", "string", status["accessModes"], false),
			kind.Column("StorageClass", "string", "StorageClass of the pvc", false),
			kind.Column("VolumeAttributesClass", "string", "VolumeAttributesClass of the pvc", false),
			kind.AgeColumn(),
			kind.Column("VolumeMode", "string", spec["volumeMode"], true),
		},
		Row: row,
	}
}

func row(c *corev1.PersistentVolumeClaim) []any {
	phase := string(c.Status.Phase)
	if c.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	var capacity, modes string
	if c.Spec.VolumeName != "" {
		capacity, modes = c.Status.Capacity.Storage().String(), Modes(c.Status.AccessModes)
	}
	return []any{
		c.Name, phase, c.Spec.VolumeName, capacity, modes, storagevolume.GetPersistentVolumeClaimClass(c),
		ptr.Deref(c.Spec.VolumeAttributesClassName, "<unset>"), kind.Age(c.CreationTimestamp),
		string(ptr.Deref(c.Spec.VolumeMode, "<unset>")),
	}
}

// Modes prints access modes in short, each once and in Kubernetes' order.
func Modes(modes []corev1.PersistentVolumeAccessMode) string {
	var out []string
	for _, m := range []struct {
		mode  corev1.PersistentVolumeAccessMode
		short string
	}{
		{corev1.ReadWriteOnce, "RWO"},
		{corev1.ReadOnlyMany, "ROX"},
		{corev1.ReadWriteMany, "RWX"},
		{corev1.ReadWriteOncePod, "RWOP"},
	} {
		if slices.Contains(modes, m.mode) {
			out = append(out, m.short)
		}
	}
	return strings.Join(out, ",")
}

// AddToScheme registers defaults and selectable fields.
func AddToScheme(s *runtime.Scheme) error { return Kind().AddDefaultedToScheme(s, SetDefaults) }

// SetDefaults fills in what the API documents as defaults.
func SetDefaults(c *corev1.PersistentVolumeClaim) {
	if c.Status.Phase == "" {
		c.Status.Phase = corev1.ClaimPending
	}
	SetSpecDefaults(&c.Spec)
}

// SetSpecDefaults is SetDefaults for the spec of a template of claims.
func SetSpecDefaults(s *corev1.PersistentVolumeClaimSpec) {
	if s.VolumeMode == nil {
		s.VolumeMode = ptr.To(corev1.PersistentVolumeFilesystem)
	}
}

// NewStorage serves the kind with its status.
func NewStorage(getter generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	s, err := kind.NewREST(Kind(), getter)
	if err != nil {
		return nil, err
	}
	return map[string]rest.Storage{"persistentvolumeclaims": s, "persistentvolumeclaims/status": s.Sub(statusRules())}, nil
}
