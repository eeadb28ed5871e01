package fields

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestPodTableCoversTheTypes(t *testing.T) {
	missing, stale := Pod().Compare(PodLeaves())
	for _, p := range missing {
		t.Errorf("no rule decides %s", p)
	}
	for _, p := range stale {
		t.Errorf("the rule for %s decides no field", p)
	}
	t.Log(Pod().Count(PodLeaves()), len(PodLeaves()))
}

func TestRulesThatRefuseSayWhatToDo(t *testing.T) {
	for _, r := range Pod().Rules() {
		if (r.State == Refused || r.State == Limited) && r.Note == "" {
			t.Errorf("%s is refused without a reason", r.Path)
		}
		if strings.HasSuffix(r.Note, ".") {
			t.Errorf("%s: the remark is part of a sentence, without a stop", r.Path)
		}
	}
}

var _ = corev1.Pod{}
