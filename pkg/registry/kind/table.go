package kind

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

// table prints objects of a kind in the columns it declares.
type table[T Object] struct{ kind Kind[T] }

// ConvertToTable prints an object or a list of them.
func (t table[T]) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	out := &metav1.Table{}
	if o, ok := options.(*metav1.TableOptions); !ok || !o.NoHeaders {
		out.ColumnDefinitions = t.kind.Columns
	}
	if l, err := meta.ListAccessor(obj); err == nil {
		out.ResourceVersion, out.Continue = l.GetResourceVersion(), l.GetContinue()
		out.RemainingItemCount = l.GetRemainingItemCount()
		return out, meta.EachListItem(obj, func(o runtime.Object) error { return t.add(out, o) })
	}
	if m, err := meta.CommonAccessor(obj); err == nil {
		out.ResourceVersion = m.GetResourceVersion()
	}
	return out, t.add(out, obj)
}

func (t table[T]) add(out *metav1.Table, obj runtime.Object) error {
	o, ok := obj.(T)
	if !ok {
		return fmt.Errorf("%T is no %s", obj, t.kind.GVK.Kind)
	}
	out.Rows = append(out.Rows, metav1.TableRow{Cells: t.kind.Row(o), Object: runtime.RawExtension{Object: obj}})
	return nil
}

// Column declares a column; wide ones are printed with -o wide only. typ is
// string or integer.
func Column(name, typ, description string, wide bool) metav1.TableColumnDefinition {
	c := metav1.TableColumnDefinition{Name: name, Type: typ, Description: description}
	if wide {
		c.Priority = 1
	}
	return c
}

// NameColumn is the first column of every kind.
func NameColumn() metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]}
}

// AgeColumn is filled by Age.
func AgeColumn() metav1.TableColumnDefinition {
	return Column("Age", "string", metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"], false)
}

// Age prints how long ago t was, as kubectl's users know it.
func Age(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}

// OrNone prints an empty cell.
func OrNone(s string) string {
	if s == "" {
		return "<none>"
	}
	return s
}
