package sandbox

import (
	"errors"
	"fmt"
	"regexp"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestFreeLevelFrom(t *testing.T) {
	for begin, want := range map[int]string{
		0: "s0:c0,c1", 1: "s0:c0,c2", categories - 1: "s0:c0,c1", categories: "s0:c1,c2", pairs - 1: "s0:c1022,c1023",
	} {
		if got, err := freeLevelFrom(begin, "s0", nil); err != nil || got != want {
			t.Errorf("%d: %s, %v", begin, got, err)
		}
	}
	if got, err := freeLevelFrom(pairs-1, "s1", map[string]bool{"s1:c1022,c1023": true, "s1:c0,c1": true, "s0:c0,c2": true}); err != nil || got != "s1:c0,c2" {
		t.Errorf("past the end and what is taken: %s, %v", got, err)
	}
	all := map[string]bool{}
	for i := range categories {
		for j := range i {
			all[fmt.Sprintf("s0:c%d,c%d", j, i)] = true
		}
	}
	if got, err := freeLevelFrom(7, "s0", all); !errors.Is(err, errNoLevel) {
		t.Errorf("all taken: %s, %v", got, err)
	}
}

func TestLevelsBelongToOnePod(t *testing.T) {
	r := newRig(t)
	if s := mustCreate(t, r, newPod("without")); s.Level != "" {
		t.Errorf("without SELinux: %q", s.Level)
	}
	r.opts.Sensitivity = "s0"
	named := newPod("named")
	named.Spec.SecurityContext = &corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Level: "s0:c5"}}
	if s := mustCreate(t, r, named); s.Level != "s0:c5" {
		t.Errorf("a level that the pod names: %q", s.Level)
	}
	const pods = 8
	var wg sync.WaitGroup
	for i := range pods {
		wg.Go(func() {
			p := newPod(fmt.Sprintf("p%d", i))
			if i%2 == 0 {
				p = ownUsers(fmt.Sprintf("p%d", i))
			}
			if _, err := r.Create(t.Context(), p); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// A new run of carob knows them too.
	r.restart(t, "boot-1")
	_, levels, err := r.used()
	must(t, err)
	seen := map[string]bool{}
	for i := range pods {
		s, err := r.Get(types.UID(fmt.Sprintf("p%d", i)))
		must(t, err)
		if s == nil || seen[s.Level] || !levels[s.Level] || !regexp.MustCompile(`^s0:c\d+,c\d+$`).MatchString(s.Level) {
			t.Errorf("%d: %+v", i, s)
			continue
		}
		if s.Users.Mapped() != (i%2 == 0) {
			t.Errorf("%d has the users %+v", i, s.Users)
		}
		seen[s.Level] = true
	}
}
