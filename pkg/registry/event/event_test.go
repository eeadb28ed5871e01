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
