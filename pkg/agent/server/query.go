package server

import (
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Values of the stream parameter.
const (
	streamAll    = "All"
	streamStdout = "Stdout"
	streamStderr = "Stderr"
)

// parseOptions reads the query of a log request. Unset parameters are nil or
// false.
func parseOptions(q url.Values) (*corev1.PodLogOptions, error) {
	o := &corev1.PodLogOptions{}
	for name, dst := range map[string]*bool{
		"follow": &o.Follow, "previous": &o.Previous, "timestamps": &o.Timestamps,
	} {
		v, err := parseBool(q, name)
		if err != nil {
			return nil, err
		}
		*dst = v
	}
	for name, f := range map[string]struct {
		dst   **int64
		least int64
	}{
		"sinceSeconds": {&o.SinceSeconds, 1}, "tailLines": {&o.TailLines, 0}, "limitBytes": {&o.LimitBytes, 1},
	} {
		v, err := parseInt(q, name, f.least)
		if err != nil {
			return nil, err
		}
		*f.dst = v
	}
	if s := q.Get("sinceTime"); s != "" {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return nil, badf("sinceTime: %q is not a time as in RFC 3339", s)
		}
		mt := metav1.NewTime(t)
		o.SinceTime = &mt
	}
	if o.SinceTime != nil && o.SinceSeconds != nil {
		return nil, badf("at most one of sinceTime and sinceSeconds may be specified")
	}
	return o, parseStream(q, o)
}

func parseStream(q url.Values, o *corev1.PodLogOptions) error {
	switch s := q.Get("stream"); s {
	case "":
	case streamAll, streamStdout, streamStderr:
		o.Stream = &s
	default:
		return badf("stream: %q is none of %s, %s, %s", s, streamAll, streamStdout, streamStderr)
	}
	return nil
}

func parseBool(q url.Values, name string) (bool, error) {
	s := q.Get(name)
	if s == "" {
		return false, nil
	}
	v, err := strconv.ParseBool(s)
	if err != nil {
		return false, badf("%s: %q is neither true nor false", name, s)
	}
	return v, nil
}

func parseInt(q url.Values, name string, least int64) (*int64, error) {
	s := q.Get(name)
	if s == "" {
		return nil, nil
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < least {
		return nil, badf("%s: %q is not a whole number of at least %d", name, s, least)
	}
	return &v, nil
}
