package job

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Indexes is a set of completion indexes. A nil set is empty.
type Indexes map[int]struct{}

// ParseIndexes reads the form of status.completedIndexes, such as "1,3-5,7".
// Indexes from limit on, and parts that cannot be read, are left out.
func ParseIndexes(text string, limit int) Indexes {
	set := Indexes{}
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(low)
		if err != nil {
			continue
		}
		last := first
		if isRange {
			if last, err = strconv.Atoi(high); err != nil {
				continue
			}
		}
		for i := first; i <= min(last, limit-1); i++ {
			set[i] = struct{}{}
		}
	}
	return set
}

// String is the form that ParseIndexes reads: runs of three and more have a
// hyphen.
func (s Indexes) String() string {
	sorted := slices.Sorted(maps.Keys(s))
	var parts []string
	for i := 0; i < len(sorted); {
		end := i
		for end+1 < len(sorted) && sorted[end+1] == sorted[end]+1 {
			end++
		}
		switch first, last := strconv.Itoa(sorted[i]), strconv.Itoa(sorted[end]); end - i {
		case 0:
			parts = append(parts, first)
		case 1:
			parts = append(parts, first, last)
		default:
			parts = append(parts, first+"-"+last)
		}
		i = end + 1
	}
	return strings.Join(parts, ",")
}

// Has says whether i is in the set.
func (s Indexes) Has(i int) bool {
	_, ok := s[i]
	return ok
}

func (s Indexes) add(i int) { s[i] = struct{}{} }

// Index returns the completion index of a pod, or ok false where it has none.
func Index(p *corev1.Pod) (index int, ok bool) {
	i, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
	return i, err == nil && i >= 0
}

// validIndex is Index for one that the Job still has.
func (o *Observed) validIndex(p *corev1.Pod) (int, bool) {
	i, ok := Index(p)
	return i, ok && i < int(*o.Job.Spec.Completions)
}

// pending returns the first n indexes that are neither done nor under way.
func (v *view) pending(n int) []int {
	var free []int
	for i := 0; i < int(*v.Job.Spec.Completions) && len(free) < n; i++ {
		if !v.completed.Has(i) && !v.failedIndexes.Has(i) && !v.busy.Has(i) {
			free = append(free, i)
		}
	}
	return free
}
