package pod

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// testTime is when the tables of the tests are printed.
func testTime() time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) }

// TestRows prints the pods of testdata/table.yaml. The line that begins with
// #! is the row, its cells separated by bars.
func TestRows(t *testing.T) {
	data, err := os.ReadFile("testdata/table.yaml")
	if err != nil {
		t.Fatal(err)
	}
	convertor := NewTableConvertor(testTime)
	for text := range strings.SplitSeq(string(data), "\n---\n") {
		p := &corev1.Pod{}
		if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		if p.CreationTimestamp.IsZero() {
			p.CreationTimestamp = metav1.NewTime(testTime().Add(-time.Hour))
		}
		t.Run(p.Name, func(t *testing.T) {
			_, want, _ := strings.Cut(text, "#! ")
			want, _, _ = strings.Cut(want, "\n")
			table, err := convertor.ConvertToTable(t.Context(), p, nil)
			if err != nil {
				t.Fatal(err)
			}
			var cells []string
			for _, c := range table.Rows[0].Cells {
				cells = append(cells, fmt.Sprint(c))
			}
			if diff := cmp.Diff(want, strings.Join(cells, " | ")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestColumns(t *testing.T) {
	list := &corev1.PodList{Items: []corev1.Pod{{}, {}}}
	list.ResourceVersion, list.Continue = "9", "more"
	table, err := NewTableConvertor(testTime).ConvertToTable(t.Context(), list, &metav1.TableOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var narrow, wide []string
	for _, c := range table.ColumnDefinitions {
		if c.Description == "" {
			t.Errorf("column %s has no description", c.Name)
		}
		if c.Priority == 0 {
			narrow = append(narrow, strings.ToUpper(c.Name))
		}
		wide = append(wide, strings.ToUpper(c.Name))
	}
	if got := strings.Join(narrow, ","); got != "NAME,READY,STATUS,RESTARTS,AGE" {
		t.Error(got)
	}
	if got := strings.Join(wide, ","); got != "NAME,READY,STATUS,RESTARTS,AGE,IP,NODE,NOMINATED NODE,READINESS GATES" {
		t.Error(got)
	}
	if len(table.Rows) != 2 || table.ResourceVersion != "9" || table.Continue != "more" {
		t.Errorf("%+v", table)
	}
	bare, err := NewTableConvertor(testTime).ConvertToTable(t.Context(), list, &metav1.TableOptions{NoHeaders: true})
	if err != nil || len(bare.ColumnDefinitions) != 0 {
		t.Errorf("%v %v", bare, err)
	}
	if _, err := NewTableConvertor(testTime).ConvertToTable(t.Context(), &corev1.Node{}, nil); err == nil {
		t.Error("printed a node")
	}
}

func TestRowsOfEndedPodsAreCompleted(t *testing.T) {
	for phase, want := range map[corev1.PodPhase]int{
		corev1.PodSucceeded: 1, corev1.PodFailed: 1, corev1.PodRunning: 0, corev1.PodPending: 0,
	} {
		p := &corev1.Pod{Status: corev1.PodStatus{Phase: phase}}
		c := rowConditions(p)
		if len(c) != want || (want == 1 && (c[0].Type != metav1.RowCompleted || c[0].Reason != string(phase))) {
			t.Errorf("%s: %+v", phase, c)
		}
	}
}
