package ctrd

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/carob-project/carob/pkg/pod"
)

// dockerHub is how images of Docker's registry are named, and hubNames are how
// its credentials may be.
const dockerHub = "docker.io"

var hubNames = []string{"index.docker.io", "registry-1.docker.io", dockerHub}

// matching returns the credentials for an image: longer paths and more exact
// hosts first, in their order where they are alike.
func matching(all []pod.Credential, named reference.Named) []pod.Credential {
	type found struct {
		pod.Credential
		place string
	}
	var fit []found
	for _, c := range all {
		host, dir := place(c.Registry)
		if covers(host, dir, named) {
			fit = append(fit, found{c, host + dir})
		}
	}
	slices.SortStableFunc(fit, func(a, b found) int {
		return cmp.Or(
			cmp.Compare(strings.Count(b.place, "/"), strings.Count(a.place, "/")),
			cmp.Compare(strings.Count(a.place, "*"), strings.Count(b.place, "*")),
			cmp.Compare(len(b.place), len(a.place)),
		)
	})
	out := make([]pod.Credential, len(fit))
	for i, f := range fit {
		out[i] = f.Credential
	}
	return out
}

// place splits the name of a credential into host and path. The path that
// Docker's tools write for the version of the protocol says nothing.
func place(registry string) (host, dir string) {
	for _, scheme := range []string{"https://", "http://"} {
		registry = strings.TrimPrefix(registry, scheme)
	}
	host, dir, _ = strings.Cut(registry, "/")
	dir = strings.Trim(dir, "/")
	if first, rest, _ := strings.Cut(dir, "/"); first == "v1" || first == "v2" {
		dir = rest
	}
	if slices.Contains(hubNames, host) {
		host = dockerHub
	}
	if dir != "" {
		dir = "/" + dir
	}
	return host, dir
}

// covers says whether a credential for this host and path is meant for the
// image: hosts match part by part, a port exactly, a path as a prefix.
func covers(host, dir string, named reference.Named) bool {
	name, port := splitPort(host)
	image, imagePort := splitPort(reference.Domain(named))
	if port != imagePort {
		return false
	}
	want, have := strings.Split(name, "."), strings.Split(image, ".")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return strings.HasPrefix("/"+reference.Path(named), dir)
}

func splitPort(host string) (name, port string) {
	if h, p, err := net.SplitHostPort(host); err == nil {
		return h, p
	}
	return host, ""
}

// fingerprint tells pulls with other credentials apart, without showing them.
func fingerprint(credentials []pod.Credential) string {
	if len(credentials) == 0 {
		return ""
	}
	sum := sha256.New()
	for _, c := range credentials {
		fmt.Fprintf(sum, "%q %q %q %q\n", c.Registry, c.Username, c.Password, c.IdentityToken)
	}
	return " " + hex.EncodeToString(sum.Sum(nil))
}
