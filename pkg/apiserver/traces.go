package apiserver

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/server/mux"

	"github.com/carob-project/carob/pkg/registry/pod"
	"github.com/carob-project/carob/pkg/tracing"
)

// traced has the requests that begin, place and end pods make spans. They are
// made when the request is over: a pod has no UID before.
func traced(core storageMap, t *tracing.Tracer) error {
	if t == nil {
		return nil
	}
	pods, ok := core["pods"].(*pod.REST)
	if !ok {
		return fmt.Errorf("pods cannot be traced: %T", core["pods"])
	}
	binding, ok := core["pods/binding"].(*pod.BindingREST)
	if !ok {
		return fmt.Errorf("bindings cannot be traced: %T", core["pods/binding"])
	}
	core["pods"], core["pods/binding"] = tracedPods{pods, t}, tracedBinding{binding, t}
	return nil
}

// serveTraces answers below tracing.Path. No rule opens that path, so only
// administrators may read it.
func serveTraces(m *mux.PathRecorderMux, t *tracing.Tracer) {
	if t != nil {
		m.UnlistedHandlePrefix(tracing.Path, t)
	}
}

type tracedPods struct {
	*pod.REST
	tracer *tracing.Tracer
}

// Create implements rest.Creater.
func (r tracedPods) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	began := time.Now()
	admit, admitted := began, began
	out, err := r.REST.Create(ctx, obj, func(ctx context.Context, obj runtime.Object) (err error) {
		admit = time.Now()
		if validate != nil {
			err = validate(ctx, obj)
		}
		admitted = time.Now()
		return err
	}, o)
	p, ok := out.(*corev1.Pod)
	if err != nil || !ok || len(o.DryRun) > 0 {
		return out, err
	}
	now, received := time.Now(), receivedAt(ctx, began)
	r.tracer.Record(tracedPod(p), tracing.Start, tracing.Over{
		Name: "API create", Begin: received, End: now, Attributes: userOf(ctx),
		Inside: []tracing.Over{
			{Name: "decode, authorize, admit", Begin: received, End: began},
			{Name: "default and validate", Begin: began, End: admit},
			{Name: "admission validates", Begin: admit, End: admitted},
			{Name: "store", Begin: admitted, End: now},
		},
	})
	return out, err
}

// Delete implements rest.GracefulDeleter.
func (r tracedPods) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, o *metav1.DeleteOptions) (runtime.Object, bool, error) {
	began := time.Now()
	out, gone, err := r.REST.Delete(ctx, name, validate, o)
	if p, ok := out.(*corev1.Pod); ok && err == nil && (o == nil || len(o.DryRun) == 0) {
		r.tracer.Record(tracedPod(p), tracing.End, tracing.Over{
			Name: "API delete", Begin: receivedAt(ctx, began), End: time.Now(), Attributes: append(userOf(ctx), attribute.Bool("gone", gone)),
		})
	}
	return out, gone, err
}

type tracedBinding struct {
	*pod.BindingREST
	tracer *tracing.Tracer
}

// Create implements rest.NamedCreater. A Binding that names no UID is not
// known to be of a certain pod.
func (r tracedBinding) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	began := time.Now()
	out, err := r.BindingREST.Create(ctx, name, obj, validate, o)
	if b, ok := obj.(*corev1.Binding); ok && err == nil && b.UID != "" && len(o.DryRun) == 0 {
		r.tracer.Record(tracing.Pod{UID: b.UID, Namespace: request.NamespaceValue(ctx), Name: name}, tracing.Start, tracing.Over{
			Name: tracing.NameBind, Begin: receivedAt(ctx, began), End: time.Now(), Attributes: userOf(ctx),
		})
	}
	return out, err
}

func tracedPod(p *corev1.Pod) tracing.Pod {
	return tracing.Pod{UID: p.UID, Namespace: p.Namespace, Name: p.Name}
}

// receivedAt is when the server began with the request.
func receivedAt(ctx context.Context, began time.Time) time.Time {
	if at, ok := request.ReceivedTimestampFrom(ctx); ok && at.Before(began) {
		return at
	}
	return began
}

func userOf(ctx context.Context) []attribute.KeyValue {
	u, ok := request.UserFrom(ctx)
	if !ok {
		return nil
	}
	return []attribute.KeyValue{attribute.String("user", u.GetName())}
}
