package event

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"
)

// TestNothingIsLostBetweenTheGroups fills every field, so that one that a
// later release adds is noticed.
func TestNothingIsLostBetweenTheGroups(t *testing.T) {
	fill := randfill.New().NilChance(0).NumElements(1, 2).MaxDepth(12).Funcs(
		func(m *metav1.FieldsV1, _ randfill.Continue) { m.SetRawString("{}") })
	for range 20 {
		in := &corev1.Event{}
		fill.Fill(in)
		in.TypeMeta = metav1.TypeMeta{}
		if d := cmp.Diff(in, ToCore(FromCore(in))); d != "" {
			t.Fatal(d)
		}
		other := &eventsv1.Event{}
		fill.Fill(other)
		other.TypeMeta = metav1.TypeMeta{}
		if d := cmp.Diff(other, FromCore(ToCore(other))); d != "" {
			t.Fatal(d)
		}
	}
}

func TestTimes(t *testing.T) {
	at := func(min int) time.Time { return time.Date(2026, 1, 1, 0, min, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		e           corev1.Event
		first, last time.Time
		count       int32
	}{
		"old fields": {corev1.Event{FirstTimestamp: metav1.Time{Time: at(1)}, LastTimestamp: metav1.Time{Time: at(5)}, Count: 3}, at(1), at(5), 3},
		"event time": {corev1.Event{EventTime: metav1.MicroTime{Time: at(2)}}, at(2), at(2), 1},
		"series": {corev1.Event{EventTime: metav1.MicroTime{Time: at(2)},
			Series: &corev1.EventSeries{Count: 9, LastObservedTime: metav1.MicroTime{Time: at(8)}}}, at(2), at(8), 9},
	} {
		first, last, count := times(&c.e)
		if !first.Time.Equal(c.first) || !last.Time.Equal(c.last) || count != c.count {
			t.Errorf("%s: %v %v %d", name, first, last, count)
		}
	}
}

func TestValidateCreate(t *testing.T) {
	good := func() *corev1.Event {
		return &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a"}, InvolvedObject: corev1.ObjectReference{Namespace: "a"}, Type: "Normal",
			EventTime: metav1.NowMicro(), Reason: "R", Action: "A", ReportingController: "x.example.com/y", ReportingInstance: "i",
		}
	}
	for name, c := range map[string]struct {
		change       func(*corev1.Event)
		core, events int
	}{
		"good":                  {func(*corev1.Event) {}, 0, 0},
		"another namespace":     {func(e *corev1.Event) { e.InvolvedObject.Namespace = "b" }, 1, 1},
		"a node's, elsewhere":   {func(e *corev1.Event) { e.InvolvedObject.Namespace = "" }, 1, 1},
		"a node's, in default":  {func(e *corev1.Event) { e.InvolvedObject.Namespace, e.Namespace = "", "default" }, 0, 0},
		"no time":               {func(e *corev1.Event) { e.EventTime = metav1.MicroTime{} }, 0, 1},
		"no action":             {func(e *corev1.Event) { e.Action = "" }, 1, 1},
		"type":                  {func(e *corev1.Event) { e.Type = "Bad" }, 0, 1},
		"deprecated count":      {func(e *corev1.Event) { e.Count = 2 }, 0, 1},
		"series of one":         {func(e *corev1.Event) { e.Series = &corev1.EventSeries{Count: 1, LastObservedTime: metav1.NowMicro()} }, 0, 1},
		"controller is no name": {func(e *corev1.Event) { e.ReportingController = "a b" }, 1, 1},
	} {
		e := good()
		c.change(e)
		if got := ValidateCreate(e, corev1.SchemeGroupVersion); len(got) != c.core {
			t.Errorf("%s, core: %v", name, got)
		}
		if got := ValidateCreate(e, eventsv1.SchemeGroupVersion); len(got) != c.events {
			t.Errorf("%s, events.k8s.io: %v", name, got)
		}
	}
}
