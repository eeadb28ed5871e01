package apiserver

import (
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

func TestAllowed(t *testing.T) {
	known := user.AllAuthenticated
	admin := &user.DefaultInfo{Name: "a", Groups: []string{user.SystemPrivilegedGroup, known}}
	nobody := &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}
	somebody := &user.DefaultInfo{Name: "somebody", Groups: []string{known}}
	node := &user.DefaultInfo{Name: "system:node:n", Groups: []string{"system:nodes", known}}
	nameless := &user.DefaultInfo{Name: "system:node:", Groups: []string{"system:nodes", known}}
	pretender := &user.DefaultInfo{Name: "system:node:n", Groups: []string{known}}
	scheduler := &user.DefaultInfo{Name: "system:kube-scheduler", Groups: []string{known}}
	controllers := &user.DefaultInfo{Name: "system:carob-controllers", Groups: []string{known}}

	resource := func(u user.Info, verb, group, resource, sub, ns, name string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{User: u, Verb: verb, APIGroup: group, APIVersion: "v1", Resource: resource,
			Subresource: sub, Namespace: ns, Name: name, ResourceRequest: true}
	}
	path := func(u user.Info, verb, p string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{User: u, Verb: verb, Path: p}
	}
	const lease = "coordination.k8s.io"
	for name, c := range map[string]struct {
		a    authorizer.AttributesRecord
		want bool
	}{
		"admin, all":                     {resource(admin, "delete", "x", "y", "", "z", "n"), true},
		"no user":                        {resource(nil, "get", "", "pods", "", "", ""), false},
		"anonymous, health":              {path(nobody, "get", "/readyz"), true},
		"anonymous, post to health":      {path(nobody, "post", "/readyz"), false},
		"anonymous, discovery":           {path(nobody, "get", "/api"), false},
		"anonymous, metrics":             {path(nobody, "get", "/metrics"), false},
		"anonymous, pods":                {resource(nobody, "get", "", "pods", "", "d", "p"), false},
		"known, discovery":               {path(somebody, "get", "/apis/events.k8s.io/v1"), true},
		"known, look-alike of discovery": {path(somebody, "get", "/apisecret"), false},
		"known, metrics":                 {path(somebody, "get", "/metrics"), false},
		"known, pods":                    {resource(somebody, "list", "", "pods", "", "", ""), false},
		"node, its node":                 {resource(node, "patch", "", "nodes", "status", "", "n"), true},
		"node, another node":             {resource(node, "patch", "", "nodes", "status", "", "m"), false},
		"node, pods":                     {resource(node, "watch", "", "pods", "", "", ""), true},
		"node, new pods":                 {resource(node, "create", "", "pods", "", "d", ""), false},
		"node, binding":                  {resource(node, "create", "", "pods", "binding", "d", "p"), false},
		"node, changing a secret":        {resource(node, "update", "", "secrets", "", "d", "s"), false},
		"node, its lease":                {resource(node, "update", lease, "leases", "", "kube-node-lease", "n"), true},
		"node, its name elsewhere":       {resource(node, "update", lease, "leases", "", "default", "n"), false},
		"node, another lease":            {resource(node, "update", lease, "leases", "", "kube-node-lease", "m"), false},
		"node, impersonation":            {resource(node, "impersonate", "", "users", "", "", "a"), false},
		"node without a name":            {resource(nameless, "patch", "", "nodes", "status", "", ""), false},
		"node's name without its group":  {resource(pretender, "list", "", "secrets", "", "", ""), false},
		"scheduler, binding":             {resource(scheduler, "create", "", "pods", "binding", "d", "p"), true},
		"scheduler, secrets":             {resource(scheduler, "list", "", "secrets", "", "", ""), false},
		"scheduler, leases of nodes":     {resource(scheduler, "update", lease, "leases", "", "kube-node-lease", "n"), false},
		"controllers, finalize":          {resource(controllers, "update", "", "namespaces", "finalize", "", "d"), true},
		"controllers, impersonation":     {resource(controllers, "impersonate", "", "users", "", "", "a"), false},
		"controllers, metrics":           {path(controllers, "get", "/metrics"), false},
	} {
		if got := allowed(c.a); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
