package pod

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"
)

// BindingREST gives a pod to a node, once.
type BindingREST struct {
	store *genericregistry.Store
}

var (
	_ rest.NamedCreater                   = &BindingREST{}
	_ rest.SubresourceObjectMetaPreserver = &BindingREST{}
)

// New returns an empty Binding.
func (*BindingREST) New() runtime.Object { return &corev1.Binding{} }

// Destroy does nothing: the store belongs to REST.
func (*BindingREST) Destroy() {}

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps the UID and
// resource version of the Binding, which are preconditions on the pod.
func (*BindingREST) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Create binds the pod of that name.
func (r *BindingREST) Create(ctx context.Context, name string, obj runtime.Object,
	validate rest.ValidateObjectFunc, options *metav1.CreateOptions,
) (runtime.Object, error) {
	binding, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %T", obj))
	}
	if binding.Name != name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if errs := validateBinding(binding); len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Binding").GroupKind(), name, errs)
	}
	if validate != nil {
		if err := validate(ctx, binding.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	err := updatePod(ctx, r.store, "binding", name, preconditionsOf(&binding.ObjectMeta), options.DryRun,
		func(p *corev1.Pod) error { return bind(p, binding) })
	if err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}, nil
}

func validateBinding(b *corev1.Binding) field.ErrorList {
	var errs field.ErrorList
	target := field.NewPath("target")
	if kind := b.Target.Kind; kind != "" && kind != "Node" {
		errs = append(errs, field.NotSupported(target.Child("kind"), kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		return append(errs, field.Required(target.Child("name"), ""))
	}
	return append(errs, validateNodeName(b.Target.Name, target.Child("name"))...)
}

// bind gives the pod its node. A pod that has one, or that is going, is not
// given away.
func bind(p *corev1.Pod, b *corev1.Binding) error {
	if p.DeletionTimestamp != nil {
		return fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", p.Name)
	}
	if p.Spec.NodeName != "" {
		return fmt.Errorf("pod %s is already assigned to node %q", p.Name, p.Spec.NodeName)
	}
	if len(p.Spec.SchedulingGates) > 0 {
		return fmt.Errorf("pod %s has non-empty .spec.schedulingGates", p.Name)
	}
	p.Spec.NodeName = b.Target.Name
	p.Status.NominatedNodeName = ""
	if len(b.Annotations) > 0 {
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		maps.Copy(p.Annotations, b.Annotations)
	}
	setCondition(p, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
	return nil
}

// setCondition puts a condition into the status; the time of transition
// moves only with the condition's status.
func setCondition(p *corev1.Pod, c corev1.PodCondition) {
	c.ObservedGeneration = p.Generation
	c.LastTransitionTime = metav1.Now()
	for i := range p.Status.Conditions {
		old := &p.Status.Conditions[i]
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		*old = c
		return
	}
	p.Status.Conditions = append(p.Status.Conditions, c)
}

func preconditionsOf(m *metav1.ObjectMeta) *storage.Preconditions {
	var pre storage.Preconditions
	if m.UID != "" {
		pre.UID = &m.UID
	}
	if m.ResourceVersion != "" {
		pre.ResourceVersion = &m.ResourceVersion
	}
	if pre == (storage.Preconditions{}) {
		return nil
	}
	return &pre
}

// updatePod changes a stored pod for a subresource. What change returns, and
// what is no API error yet, comes back as a conflict.
func updatePod(ctx context.Context, store *genericregistry.Store, subresource, name string,
	pre *storage.Preconditions, dryRun []string, change func(*corev1.Pod) error,
) error {
	key, err := store.KeyFunc(ctx, name)
	if err != nil {
		return err
	}
	err = store.Storage.GuaranteedUpdate(ctx, key, &corev1.Pod{}, false, pre,
		storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
			p, ok := obj.(*corev1.Pod)
			if !ok {
				return nil, fmt.Errorf("want a Pod, got %T", obj)
			}
			return p, change(p)
		}), dryrun.IsDryRun(dryRun), nil)
	if err == nil {
		return nil
	}
	err = storeerr.InterpretGetError(err, podsResource(), name)
	err = storeerr.InterpretUpdateError(err, podsResource(), name)
	if status := apierrors.APIStatus(nil); !errors.As(err, &status) {
		gr := schema.GroupResource{Resource: "pods/" + subresource}
		err = apierrors.NewConflict(gr, name, err)
	}
	return err
}

// LegacyBindingREST serves bindings posted to the namespace.
type LegacyBindingREST struct {
	binding *BindingREST
}

var (
	_ rest.Creater              = &LegacyBindingREST{}
	_ rest.Scoper               = &LegacyBindingREST{}
	_ rest.SingularNameProvider = &LegacyBindingREST{}
)

// New returns an empty Binding.
func (*LegacyBindingREST) New() runtime.Object { return &corev1.Binding{} }

// Destroy does nothing: the store belongs to REST.
func (*LegacyBindingREST) Destroy() {}

// NamespaceScoped is true: a binding is about a pod of its namespace.
func (*LegacyBindingREST) NamespaceScoped() bool { return true }

// GetSingularName names one of them.
func (*LegacyBindingREST) GetSingularName() string { return "binding" }

// Create binds the pod that the Binding's metadata names.
func (r *LegacyBindingREST) Create(ctx context.Context, obj runtime.Object,
	validate rest.ValidateObjectFunc, options *metav1.CreateOptions,
) (runtime.Object, error) {
	binding, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %T", obj))
	}
	return r.binding.Create(ctx, binding.Name, binding, validate, options)
}
