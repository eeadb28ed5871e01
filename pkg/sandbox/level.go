package sandbox

import (
	"errors"
	"fmt"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// categories is how many of them policies have: c0 to c1023.
const categories = 1024

var errNoLevel = errors.New("no pair of SELinux categories is free")

// levelOf is the SELinux level that a pod names; empty where it names none, or
// the node has none.
func (m *Manager) levelOf(p *corev1.Pod) string {
	if m.opts.Sensitivity == "" {
		return ""
	}
	return pod.SELinuxOf(p).Level
}

// freeLevel returns a level with two categories that no other pod has.
func freeLevel(sensitivity string, taken map[string]bool) (string, error) {
	return freeLevelFrom(rand.IntN(pairs), sensitivity, taken) // #nosec G404 -- it has to be another's, not a secret
}

// pairs counts each pair in both orders.
const pairs = categories * (categories - 1)

// freeLevelFrom tries all pairs, beginning with one of them.
func freeLevelFrom(begin int, sensitivity string, taken map[string]bool) (string, error) {
	for i := range pairs {
		n := (begin + i) % pairs
		a, b := n/(categories-1), n%(categories-1)
		if b >= a {
			b++ // two different ones
		}
		level := fmt.Sprintf("%s:c%d,c%d", sensitivity, min(a, b), max(a, b))
		if !taken[level] {
			return level, nil
		}
	}
	return "", errNoLevel
}
