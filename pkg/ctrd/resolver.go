package ctrd

import (
	"context"
	"errors"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"

	"github.com/carob-project/carob/pkg/pod"
)

// newResolver speaks to registries as containerd does: what a hosts.toml in
// the directory of a registry says holds for it; else TLS is used, but for
// registries on this machine. c is shown to whoever of them asks for it; nil:
// nothing is.
func (r *Runtime) newResolver(ctx context.Context, c *pod.Credential) remotes.Resolver {
	o := config.HostOptions{Credentials: func(string) (string, string, error) { return secretOf(c) }}
	if dir := r.opts.RegistryConfigDir; dir != "" {
		o.HostDir = config.HostDirFromRoot(dir)
	}
	return docker.NewResolver(docker.ResolverOptions{Hosts: config.ConfigureHosts(ctx, o)})
}

func secretOf(c *pod.Credential) (user, secret string, err error) {
	switch {
	case c == nil:
		return "", "", nil
	case c.IdentityToken != "":
		return "", c.IdentityToken, nil
	default:
		return c.Username, c.Password, nil
	}
}

// resolve asks the registry for an image with each credential in turn, and
// returns the resolver that was let in, and with which; nil: with none.
func (r *Runtime) resolve(ctx context.Context, name string, credentials []pod.Credential) (remotes.Resolver, *pod.Credential, error) {
	if len(credentials) == 0 {
		resolver := r.newResolver(ctx, nil)
		_, _, err := resolver.Resolve(ctx, name)
		return resolver, nil, native(err)
	}
	// How a registry refuses differs: some say that the image does not exist.
	var errs []error
	for i := range credentials {
		resolver := r.newResolver(ctx, &credentials[i])
		_, _, err := resolver.Resolve(ctx, name)
		if err == nil {
			return resolver, &credentials[i], nil
		}
		errs = append(errs, native(err))
	}
	return nil, nil, errors.Join(errs...)
}
