package apiserver

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/carob-project/carob/pkg/pki"
)

// verbs of rules.
const (
	read   = "get,list,watch"
	change = "create,update,patch"
	all    = "*"
)

// rule allows a subject some verbs on a resource or a path. What no rule
// allows is forbidden.
type rule struct {
	// verbs are separated by commas; "*" is every one but impersonate and
	// escalate.
	verbs string
	// resource is resource.group, with the subresource behind a slash: pods,
	// pods/status, leases.coordination.k8s.io. "*" is every resource and
	// subresource.
	resource string
	// namespace, if set, is the only one.
	namespace string
	// own allows only the object named like the subject's node.
	own bool
}

func nodeRules() []rule {
	return []rule{
		{verbs: read, resource: "nodes"},
		{verbs: "create", resource: "nodes"},
		{verbs: "update,patch,delete", resource: "nodes", own: true},
		{verbs: "update,patch", resource: "nodes/status", own: true},
		{verbs: read + ",delete", resource: "pods"},
		{verbs: "get,update,patch", resource: "pods/status"},
		{verbs: "create", resource: "pods/eviction"},
		{verbs: read, resource: "configmaps"},
		{verbs: read, resource: "secrets"},
		{verbs: "get", resource: "serviceaccounts"},
		// Of pods that are bound to the node alone: admission sees to that.
		{verbs: "create", resource: "serviceaccounts/token"},
		{verbs: "create", resource: "tokenreviews.authentication.k8s.io"},
		{verbs: "create", resource: "subjectaccessreviews.authorization.k8s.io"},
		{verbs: read, resource: "namespaces"},
		{verbs: read, resource: "runtimeclasses.node.k8s.io"},
		{verbs: read, resource: "clustertrustbundles.certificates.k8s.io"},
		// The node makes and removes the volumes that are its directories.
		{verbs: read + ",create,update,patch,delete", resource: "persistentvolumes"},
		{verbs: "update,patch", resource: "persistentvolumes/status"},
		{verbs: read + ",update,patch", resource: "persistentvolumeclaims"},
		{verbs: "update,patch", resource: "persistentvolumeclaims/status"},
		{verbs: read, resource: "storageclasses.storage.k8s.io"},
		{verbs: change, resource: "events"},
		{verbs: change, resource: "events.events.k8s.io"},
		{verbs: "create", resource: "leases.coordination.k8s.io", namespace: corev1.NamespaceNodeLease},
		{verbs: "get,update,patch,delete", resource: "leases.coordination.k8s.io", namespace: corev1.NamespaceNodeLease, own: true},
	}
}

func schedulerRules() []rule {
	return []rule{
		{verbs: read, resource: "nodes"},
		{verbs: read, resource: "namespaces"},
		{verbs: read + ",delete", resource: "pods"},
		{verbs: "create", resource: "pods/binding"},
		{verbs: "create", resource: "bindings"},
		{verbs: "update,patch", resource: "pods/status"},
		{verbs: read + ",update,patch", resource: "persistentvolumes"},
		{verbs: read + ",update,patch", resource: "persistentvolumeclaims"},
		{verbs: read, resource: "storageclasses.storage.k8s.io"},
		{verbs: read, resource: "poddisruptionbudgets.policy"},
		{verbs: change, resource: "events"},
		{verbs: change, resource: "events.events.k8s.io"},
		{verbs: "get," + change, resource: "leases.coordination.k8s.io", namespace: "kube-system"},
	}
}

// controllerRules allow all objects: the garbage collector and the end of a
// namespace reach every kind.
func controllerRules() []rule { return []rule{{verbs: all, resource: "*"}} }

// knownRules hold for everybody who is known: they may ask about themselves.
func knownRules() []rule {
	return []rule{
		{verbs: "create", resource: "selfsubjectreviews.authentication.k8s.io"},
		{verbs: "create", resource: "selfsubjectaccessreviews.authorization.k8s.io"},
		{verbs: "create", resource: "selfsubjectrulesreviews.authorization.k8s.io"},
	}
}

// publicPaths are open to everybody, discoveryPaths to whoever is known.
func publicPaths() []string {
	return []string{"/healthz", "/livez", "/readyz", "/version", "/version/"}
}

// issuerPaths tell service accounts, and who acts for them, how to check tokens.
func issuerPaths() []string { return []string{openIDPath, keySetPath} }

func discoveryPaths() []string {
	return []string{"/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"}
}

// rulesOf returns the rules of a user, and the name of its node if it is one.
func rulesOf(u user.Info) (rules []rule, node string) {
	switch name := u.GetName(); {
	case name == pki.UserScheduler:
		return schedulerRules(), ""
	case name == pki.UserControllers:
		return controllerRules(), ""
	case slices.Contains(u.GetGroups(), pki.GroupNodes):
		if node, ok := strings.CutPrefix(name, pki.NodeUser("")); ok && node != "" {
			return nodeRules(), node
		}
	}
	return nil, ""
}

// allowed decides a request. It is pure.
func allowed(a authorizer.Attributes) bool {
	u := a.GetUser()
	if u == nil {
		return false
	}
	if slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) {
		return true
	}
	if !a.IsResourceRequest() {
		return pathAllowed(u, a.GetVerb(), a.GetPath())
	}
	rules, node := rulesOf(u)
	if slices.Contains(u.GetGroups(), user.AllAuthenticated) {
		rules = append(rules, knownRules()...)
	}
	return slices.ContainsFunc(rules, func(r rule) bool { return r.allows(a, node) })
}

func pathAllowed(u user.Info, verb, path string) bool {
	if verb != "get" && verb != "head" {
		return false
	}
	if slices.Contains(publicPaths(), path) {
		return true
	}
	if !slices.Contains(u.GetGroups(), user.AllAuthenticated) {
		return false
	}
	if slices.Contains(issuerPaths(), path) {
		return slices.Contains(u.GetGroups(), serviceaccount.AllServiceAccountsGroup)
	}
	return slices.ContainsFunc(discoveryPaths(), func(p string) bool {
		prefix, tree := strings.CutSuffix(p, "*")
		return p == path || tree && strings.HasPrefix(path, prefix)
	})
}

func (r rule) allows(a authorizer.Attributes, node string) bool {
	if r.resource != "*" && r.resource != resourceOf(a) {
		return false
	}
	if r.namespace != "" && r.namespace != a.GetNamespace() {
		return false
	}
	if r.own && a.GetName() != node {
		return false
	}
	if r.verbs == all {
		return a.GetVerb() != "impersonate" && a.GetVerb() != "escalate"
	}
	return slices.Contains(strings.Split(r.verbs, ","), a.GetVerb())
}

func resourceOf(a authorizer.Attributes) string {
	s := a.GetResource()
	if a.GetAPIGroup() != "" {
		s += "." + a.GetAPIGroup()
	}
	if a.GetSubresource() != "" {
		s += "/" + a.GetSubresource()
	}
	return s
}

// authorize is allowed in the form the library wants.
func authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if allowed(a) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}
