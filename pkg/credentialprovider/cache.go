package credentialprovider

import (
	"maps"
	"sync"
	"time"

	"k8s.io/kubelet/pkg/apis/credentialprovider"
)

// everything is the place of answers that are for all images. It cannot be the
// name of one.
const everything = "<global>"

// place is what an answer is for: an image, a registry or everything, and the
// account of whose pods it was asked.
type place struct{ images, account string }

type auths map[string]credentialprovider.AuthConfig

type kept struct {
	auths   auths
	expires time.Time
}

// cache keeps answers. The zero value is ready for use.
type cache struct {
	mu   sync.Mutex
	held map[place]kept
}

// get returns what is known for an image, the most exact first.
func (c *cache) get(image, account string, now time.Time) (auths, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, images := range []string{image, registryOf(image), everything} {
		if k, ok := c.held[place{images, account}]; ok && !now.After(k.expires) {
			return k.auths, true
		}
	}
	return nil, false
}

// put keeps an answer, and throws away what has expired.
func (c *cache) put(p place, a auths, expires, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = map[place]kept{}
	}
	maps.DeleteFunc(c.held, func(_ place, k kept) bool { return now.After(k.expires) })
	c.held[p] = kept{a, expires}
}
