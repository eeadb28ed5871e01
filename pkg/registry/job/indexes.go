package job

import (
	"fmt"
	"strconv"
	"strings"
)

// span is a run of completion indexes, both ends included.
type span struct{ first, last int }

// parseIndexes reads completion indexes below limit, in the form "1,3-5,7", in
// which they have to grow. The empty text has none.
func parseIndexes(text string, limit int) ([]span, error) {
	if text == "" {
		return nil, nil
	}
	var spans []span
	for part := range strings.SplitSeq(text, ",") {
		s, err := parseSpan(part, limit)
		if err != nil {
			return nil, err
		}
		if n := len(spans); n > 0 && spans[n-1].last >= s.first {
			return nil, fmt.Errorf("non-increasing order, previous: %d, current: %d", spans[n-1].last, s.first)
		}
		spans = append(spans, s)
	}
	return spans, nil
}

// readable is what parseIndexes reads, without the parts that it refuses.
func readable(text string, limit int) []span {
	var spans []span
	for part := range strings.SplitSeq(text, ",") {
		if s, err := parseSpan(part, limit); err == nil {
			spans = append(spans, s)
		}
	}
	return spans
}

func parseSpan(part string, limit int) (span, error) {
	ends := strings.Split(part, "-")
	if len(ends) > 2 {
		return span{}, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", part)
	}
	var numbers []int
	for _, text := range ends {
		n, err := strconv.Atoi(text)
		if err != nil {
			return span{}, fmt.Errorf("cannot convert string to integer for index: %q", text)
		}
		if n >= limit {
			return span{}, fmt.Errorf("too large index: %q", text)
		}
		numbers = append(numbers, n)
	}
	if len(numbers) == 1 {
		return span{numbers[0], numbers[0]}, nil
	}
	if numbers[0] >= numbers[1] {
		return span{}, fmt.Errorf("non-increasing order, previous: %d, current: %d", numbers[0], numbers[1])
	}
	return span{numbers[0], numbers[1]}, nil
}

// total is how many indexes there are.
func total(spans []span) int {
	n := 0
	for _, s := range spans {
		n += s.last - s.first + 1
	}
	return n
}

// common returns an index that is in both, if there is one.
func common(a, b []span) (int, bool) {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].last < b[0].first:
			a = a[1:]
		case b[0].last < a[0].first:
			b = b[1:]
		default:
			return max(a[0].first, b[0].first), true
		}
	}
	return 0, false
}
