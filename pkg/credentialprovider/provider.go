package credentialprovider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	kubeletv1 "k8s.io/kubelet/config/v1"
	"k8s.io/kubelet/pkg/apis/credentialprovider"

	"github.com/carob-project/carob/internal/flight"
	"github.com/carob-project/carob/pkg/pod"
)

// Options are what a Provider needs.
type Options struct {
	// Accounts is needed where a plugin wants to know service accounts.
	Accounts Accounts
	// Timeout is how long a plugin may take; default 1 minute.
	Timeout time.Duration
	// Now defaults to time.Now.
	Now func() time.Time
	Log *zap.Logger
}

// Provider gives the credentials that the plugins of a Config know.
type Provider struct {
	opts    Options
	binDir  string
	plugins []*plugin
	tokens  tokens
}

// plugin is one of them, with what it has answered.
type plugin struct {
	kubeletv1.CredentialProvider
	cache   cache
	flights flight.Group[auths]
}

// New returns the provider of the plugins of a Config.
func New(c Config, o Options) *Provider {
	if o.Timeout == 0 {
		o.Timeout = execTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Provider{opts: o, binDir: c.binDir}
	for _, one := range c.providers {
		p.plugins = append(p.plugins, &plugin{
			CredentialProvider: one,
			flights:            flight.Group[auths]{ToTheEnd: true}, // whoever leaves last leaves no process behind
		})
	}
	return p
}

// Credentials asks all plugins that the image, which is named without tag and
// digest, is for, and returns what they give in their order. One that fails
// gives nothing, and the log says so.
func (p *Provider) Credentials(ctx context.Context, owner *corev1.Pod, image string) []pod.Credential {
	var all []pod.Credential
	for _, one := range p.plugins {
		if !slices.ContainsFunc(one.MatchImages, func(m string) bool { return matches(m, image) }) {
			continue
		}
		who, given, err := p.provide(ctx, one, owner, image)
		if err != nil && ctx.Err() == nil {
			p.opts.Log.Error("a credential provider gives nothing", zap.String("provider", one.Name), zap.String("image", image),
				zap.String("pod", owner.Namespace+"/"+owner.Name), zap.String("uid", string(owner.UID)), zap.Error(err))
		}
		for _, registry := range slices.Sorted(maps.Keys(given)) {
			all = append(all, pod.Credential{
				Account: who.uid, Node: who.name == "", Registry: registry,
				Username: given[registry].Username, Password: given[registry].Password,
			})
		}
	}
	return all
}

// provide returns what a plugin has answered, or answers now.
func (p *Provider) provide(ctx context.Context, one *plugin, owner *corev1.Pod, image string) (identity, auths, error) {
	who, ok, err := p.identify(ctx, one.CredentialProvider, owner)
	if err != nil || !ok {
		return identity{}, nil, err
	}
	account := ""
	if one.TokenAttributes != nil {
		account = who.account(one.TokenAttributes.CacheType)
	}
	if known, ok := one.cache.get(image, account, p.opts.Now()); ok {
		return who, known, nil
	}
	// Pods of one account have tokens of their own.
	key := strings.Join([]string{image, account, who.tokenHash()}, "\x00")
	given, err := one.flights.Do(ctx, key, nil, func(ctx context.Context, _ func(string)) (auths, error) {
		ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
		defer cancel()
		answer, err := ask(ctx, p.binDir, one.CredentialProvider, &credentialprovider.CredentialProviderRequest{
			Image: image, ServiceAccountToken: who.token, ServiceAccountAnnotations: who.annotations,
		})
		if err != nil {
			return nil, err
		}
		return p.keep(one, who, account, image, answer)
	})
	return who, given, err
}

var errEcho = errors.New("credential provider plugin returned the service account token as the password which is not allowed when service account cache type is not set to 'Token'")

// keep checks an answer and keeps it for as long as it says.
func (p *Provider) keep(one *plugin, who identity, account, image string, answer *credentialprovider.CredentialProviderResponse) (auths, error) {
	if who.token != "" && one.TokenAttributes.CacheType != kubeletv1.TokenServiceAccountTokenCacheType {
		for _, a := range answer.Auth {
			if a.Password == who.token {
				return nil, errEcho
			}
		}
	}
	at := place{account: account}
	switch answer.CacheKeyType {
	case credentialprovider.ImagePluginCacheKeyType:
		at.images = image
	case credentialprovider.RegistryPluginCacheKeyType:
		at.images = registryOf(image)
	case credentialprovider.GlobalPluginCacheKeyType:
		at.images = everything
	default:
		return nil, fmt.Errorf("credential provider plugin did not return a valid cacheKeyType: %s", answer.CacheKeyType)
	}
	life := one.DefaultCacheDuration.Duration
	if answer.CacheDuration != nil {
		life = answer.CacheDuration.Duration
	}
	if life != 0 {
		now := p.opts.Now()
		one.cache.put(at, answer.Auth, now.Add(life), now)
	}
	return answer.Auth, nil
}
