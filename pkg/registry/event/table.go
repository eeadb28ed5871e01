package event

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/registry/kind"
)

func row(e *corev1.Event) []any {
	first, last, count := times(e)
	object := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		object += "/" + e.InvolvedObject.Name
	}
	return []any{
		kind.Age(last), e.Type, e.Reason, object, e.InvolvedObject.FieldPath, source(e),
		strings.TrimSpace(e.Message), kind.Age(first), int64(count), e.Name,
	}
}

// times reads when and how often an event was seen from whichever fields its
// reporter filled: the old timestamps, or the event time and a series.
func times(e *corev1.Event) (first, last metav1.Time, count int32) {
	first, last, count = e.FirstTimestamp, e.LastTimestamp, e.Count
	if first.IsZero() {
		first = metav1.Time{Time: e.EventTime.Time}
	}
	if e.Series != nil {
		last, count = metav1.Time{Time: e.Series.LastObservedTime.Time}, e.Series.Count
	}
	if last.IsZero() {
		last = first
	}
	return first, last, max(count, 1)
}

func source(e *corev1.Event) string {
	from, host := component(e), e.Source.Host
	if host == "" && e.Source.Component == "" {
		host = e.ReportingInstance
	}
	if host == "" {
		return from
	}
	return fmt.Sprintf("%s, %s", from, host)
}
