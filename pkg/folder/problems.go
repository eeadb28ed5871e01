package folder

import (
	"errors"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Fields that the API server names in a sentence only.
var sentences = []*regexp.Regexp{
	regexp.MustCompile(`()(unknown field) "([^"]+)"`),
	regexp.MustCompile(`()(duplicate field) "([^"]+)"`),
	regexp.MustCompile(`(?m)(\.[^\s:]+): (field not declared in schema|expected .*|duplicate entries .*)$`),
}

var goField = regexp.MustCompile(`(cannot unmarshal \S+ into) Go struct field \w+\.(\S+) of type (\S+)`)

// problems says in terms of the file what the API server says of a document.
func problems(d *Document, err error) []Problem {
	at := func(field, message string) Problem {
		field = d.at.numbered(strings.TrimPrefix(field, "."))
		return Problem{File: d.File, Line: d.at.line(field), Field: field, Message: message}
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return []Problem{at("", err.Error())}
	}
	var out []Problem
	if details := status.Status().Details; details != nil {
		for _, c := range details.Causes {
			if c.Field != "" && c.Field != "<nil>" && c.Type != metav1.CauseType("NamespaceTerminating") {
				out = append(out, at(c.Field, strings.TrimPrefix(c.Message, c.Field+": ")))
			}
		}
	}
	text := status.Status().Message
	for _, re := range sentences {
		for _, m := range re.FindAllStringSubmatch(text, -1) {
			field, message := m[1], m[2]
			if len(m) == 4 {
				field = m[3]
			}
			if len(out) == 0 || !sameField(out, field) {
				out = append(out, at(field, message))
			}
		}
	}
	if m := goField.FindStringSubmatch(text); m != nil && len(out) == 0 {
		out = append(out, at(m[2], m[1]+" "+m[3]))
	}
	if len(out) == 0 {
		out = append(out, at("", text))
	}
	return out
}

func sameField(all []Problem, field string) bool {
	for _, p := range all {
		if p.Field == strings.TrimPrefix(field, ".") {
			return true
		}
	}
	return false
}

// refused says whether the document itself is wrong: no other object helps.
func refused(err error) bool {
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsConflict(err) || apierrors.IsRequestEntityTooLargeError(err) ||
		apierrors.IsMethodNotSupported(err) || apierrors.IsUnsupportedMediaType(err) {
		return true
	}
	var status apierrors.APIStatus
	return errors.As(err, &status) && strings.Contains(status.Status().Message, "failed to create typed patch object")
}
