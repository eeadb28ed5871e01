package metrics

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// readable is what the storage of the group's kinds has to be.
type readable interface {
	rest.Storage
	rest.Getter
	rest.Lister
	rest.Scoper
	rest.KindProvider
	rest.SingularNameProvider
}

var (
	_ readable = &nodeREST{}
	_ readable = &podREST{}
)

type nodeREST struct{ source }

// New implements rest.Storage.
func (*nodeREST) New() runtime.Object { return &metricsv1beta1.NodeMetrics{} }

// Destroy has nothing to close.
func (*nodeREST) Destroy() {}

// NewList implements rest.Lister.
func (*nodeREST) NewList() runtime.Object { return &metricsv1beta1.NodeMetricsList{} }

// NamespaceScoped implements rest.Scoper.
func (*nodeREST) NamespaceScoped() bool { return false }

// Kind implements rest.KindProvider.
func (*nodeREST) Kind() string { return "NodeMetrics" }

// GetSingularName is empty, as that of upstream's server: the names of the
// core group's kinds must not become ambiguous.
func (*nodeREST) GetSingularName() string { return "" }

// List implements rest.Lister.
func (r *nodeREST) List(ctx context.Context, o *metainternalversion.ListOptions) (runtime.Object, error) {
	all, err := r.nodeMetrics(ctx)
	if err != nil {
		return nil, err
	}
	out := &metricsv1beta1.NodeMetricsList{Items: []metricsv1beta1.NodeMetrics{}}
	for _, m := range all {
		if selects(o, m.Labels, fields.Set{"metadata.name": m.Name}) {
			out.Items = append(out.Items, m)
		}
	}
	return out, nil
}

// Get implements rest.Getter.
func (r *nodeREST) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	all, err := r.nodeMetrics(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Name == name {
			return &all[i], nil
		}
	}
	return nil, apierrors.NewNotFound(metricsv1beta1.Resource("nodemetrics"), name)
}

// ConvertToTable implements rest.TableConvertor.
func (*nodeREST) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	t := newTable(options)
	switch o := obj.(type) {
	case *metricsv1beta1.NodeMetrics:
		t.add(o, o.Name, o.Usage, o.Window)
	case *metricsv1beta1.NodeMetricsList:
		t.ResourceVersion = o.ResourceVersion
		for i := range o.Items {
			m := &o.Items[i]
			t.add(m, m.Name, m.Usage, m.Window)
		}
	}
	return t.Table, nil
}

type podREST struct{ source }

// New implements rest.Storage.
func (*podREST) New() runtime.Object { return &metricsv1beta1.PodMetrics{} }

// Destroy has nothing to close.
func (*podREST) Destroy() {}

// NewList implements rest.Lister.
func (*podREST) NewList() runtime.Object { return &metricsv1beta1.PodMetricsList{} }

// NamespaceScoped implements rest.Scoper.
func (*podREST) NamespaceScoped() bool { return true }

// Kind implements rest.KindProvider.
func (*podREST) Kind() string { return "PodMetrics" }

// GetSingularName is empty for the reason that nodes have.
func (*podREST) GetSingularName() string { return "" }

// List implements rest.Lister.
func (r *podREST) List(ctx context.Context, o *metainternalversion.ListOptions) (runtime.Object, error) {
	all, err := r.podMetrics(ctx)
	if err != nil {
		return nil, err
	}
	namespace := request.NamespaceValue(ctx)
	out := &metricsv1beta1.PodMetricsList{Items: []metricsv1beta1.PodMetrics{}}
	for _, m := range all {
		set := fields.Set{"metadata.name": m.Name, "metadata.namespace": m.Namespace}
		if (namespace == "" || namespace == m.Namespace) && selects(o, m.Labels, set) {
			out.Items = append(out.Items, m)
		}
	}
	return out, nil
}

// Get implements rest.Getter.
func (r *podREST) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	all, err := r.podMetrics(ctx)
	if err != nil {
		return nil, err
	}
	namespace := request.NamespaceValue(ctx)
	for i := range all {
		if all[i].Name == name && all[i].Namespace == namespace {
			return &all[i], nil
		}
	}
	return nil, apierrors.NewNotFound(metricsv1beta1.Resource("podmetrics"), namespace+"/"+name)
}

// ConvertToTable implements rest.TableConvertor.
func (*podREST) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	t := newTable(options)
	add := func(m *metricsv1beta1.PodMetrics) {
		sum := corev1.ResourceList{}
		for _, c := range m.Containers {
			for name, q := range c.Usage {
				total := sum[name]
				total.Add(q)
				sum[name] = total
			}
		}
		t.add(m, m.Name, sum, m.Window)
	}
	switch o := obj.(type) {
	case *metricsv1beta1.PodMetrics:
		add(o)
	case *metricsv1beta1.PodMetricsList:
		t.ResourceVersion = o.ResourceVersion
		for i := range o.Items {
			add(&o.Items[i])
		}
	}
	return t.Table, nil
}

// table prints metrics.
type table struct{ *metav1.Table }

func newTable(options runtime.Object) table {
	t := table{&metav1.Table{}}
	if o, ok := options.(*metav1.TableOptions); !ok || !o.NoHeaders {
		t.ColumnDefinitions = []metav1.TableColumnDefinition{
			{Name: "Name", Type: "string", Format: "name", Description: "Name of the resource"},
			{Name: "cpu", Type: "string", Format: "quantity"},
			{Name: "memory", Type: "string", Format: "quantity"},
			{Name: "Window", Type: "string", Format: "duration"},
		}
	}
	return t
}

func (t table) add(obj runtime.Object, name string, use corev1.ResourceList, window metav1.Duration) {
	t.Rows = append(t.Rows, metav1.TableRow{
		Cells:  []any{name, use.Cpu().String(), use.Memory().String(), window.Duration.String()},
		Object: runtime.RawExtension{Object: obj},
	})
}
