package pod

import (
	"context"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/registry/rest"
)

const none = "<none>"

// tableConvertor prints pods as kubectl's users know them.
type tableConvertor struct {
	now func() time.Time
}

// NewTableConvertor returns the convertor of pods; now gives the time that
// ages are measured from.
func NewTableConvertor(now func() time.Time) rest.TableConvertor { return tableConvertor{now} }

func columns() []metav1.TableColumnDefinition {
	docs := corev1.PodStatus{}.SwaggerDoc()
	wide := func(name, doc string) metav1.TableColumnDefinition {
		return metav1.TableColumnDefinition{Name: name, Type: "string", Priority: 1, Description: doc}
	}
	return []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]},
		{Name: "Ready", Type: "string", Description: "How many of the containers are ready."},
		{Name: "Status", Type: "string", Description: "Where the pod stands, as a summary of its containers."},
		{Name: "Restarts", Type: "string", Description: "How often containers were restarted, and when last."},
		{Name: "Age", Type: "string", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]},
		wide("IP", docs["podIP"]),
		wide("Node", corev1.PodSpec{}.SwaggerDoc()["nodeName"]),
		wide("Nominated Node", docs["nominatedNodeName"]),
		wide("Readiness Gates", corev1.PodSpec{}.SwaggerDoc()["readinessGates"]),
	}
}

// ConvertToTable prints one pod or a list of them.
func (t tableConvertor) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	table := &metav1.Table{}
	if o, ok := options.(*metav1.TableOptions); !ok || o == nil || !o.NoHeaders {
		table.ColumnDefinitions = columns()
	}
	switch o := obj.(type) {
	case *corev1.Pod:
		table.ResourceVersion = o.ResourceVersion
		table.Rows = []metav1.TableRow{t.row(o)}
	case *corev1.PodList:
		m, err := meta.ListAccessor(o)
		if err != nil {
			return nil, err
		}
		table.ResourceVersion = m.GetResourceVersion()
		table.Continue = m.GetContinue()
		table.RemainingItemCount = m.GetRemainingItemCount()
		table.Rows = make([]metav1.TableRow, 0, len(o.Items))
		for i := range o.Items {
			table.Rows = append(table.Rows, t.row(&o.Items[i]))
		}
	default:
		return nil, fmt.Errorf("want a Pod or a PodList, got %T", obj)
	}
	return table, nil
}

func (t tableConvertor) row(p *corev1.Pod) metav1.TableRow {
	s := summarize(p)
	ip := p.Status.PodIP
	if len(p.Status.PodIPs) > 0 {
		ip = p.Status.PodIPs[0].IP
	}
	restarts := strconv.Itoa(s.count)
	if s.count != 0 && !s.last.IsZero() {
		restarts += fmt.Sprintf(" (%s ago)", t.since(s.last))
	}
	return metav1.TableRow{
		Object: runtime.RawExtension{Object: p},
		Cells: []any{
			p.Name, fmt.Sprintf("%d/%d", s.ready, s.total), s.reason, restarts, t.since(p.CreationTimestamp),
			orNone(ip), orNone(p.Spec.NodeName), orNone(p.Status.NominatedNodeName), gates(p),
		},
		Conditions: rowConditions(p),
	}
}

func (t tableConvertor) since(at metav1.Time) string {
	if at.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(t.now().Sub(at.Time))
}

func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

func gates(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return none
	}
	met := 0
	for _, g := range p.Spec.ReadinessGates {
		if conditionTrue(p, g.ConditionType) {
			met++
		}
	}
	return fmt.Sprintf("%d/%d", met, len(p.Spec.ReadinessGates))
}

// rowConditions let clients grey out what has ended.
func rowConditions(p *corev1.Pod) []metav1.TableRowCondition {
	c := metav1.TableRowCondition{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(p.Status.Phase)}
	switch p.Status.Phase {
	case corev1.PodSucceeded:
		c.Message = "The pod has completed successfully."
	case corev1.PodFailed:
		c.Message = "The pod failed."
	default:
		return nil
	}
	return []metav1.TableRowCondition{c}
}
