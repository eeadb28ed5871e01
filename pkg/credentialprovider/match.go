package credentialprovider

import (
	"net"
	"net/url"
	"path"
	"strings"
)

// anyScheme makes a URL of a name that has none.
const anyScheme = "https://"

// matches says whether a pattern is for an image, which is named without tag
// and digest: as many parts of the host, each of which may hold globs, the same
// port or none on both sides, and a path that begins the image's.
func matches(pattern, image string) bool {
	want, err := url.Parse(anyScheme + pattern)
	if err != nil {
		return false
	}
	have, err := url.Parse(anyScheme + image)
	if err != nil {
		return false
	}
	wantParts, wantPort := hostOf(want)
	haveParts, havePort := hostOf(have)
	if wantPort != havePort || len(wantParts) != len(haveParts) || !strings.HasPrefix(have.Path, want.Path) {
		return false
	}
	for i, p := range wantParts {
		if ok, err := path.Match(p, haveParts[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

func hostOf(u *url.URL) (parts []string, port string) {
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		host, port = u.Host, ""
	}
	return strings.Split(host, "."), port
}

// registryOf is the host of an image, with its port.
func registryOf(image string) string {
	host, _, _ := strings.Cut(image, "/")
	return host
}
