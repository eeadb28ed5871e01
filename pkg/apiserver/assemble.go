package apiserver

import (
	"net"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	storagefactory "k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	basecompatibility "k8s.io/component-base/compatibility"

	"github.com/carob-project/carob/pkg/apiserver/openapi"
	"github.com/carob-project/carob/pkg/pki"
)

// loopbackUser is who the server is to itself.
const loopbackUser = "system:apiserver"

// assemble fills s.generic.
func (s *Server) assemble(o Options, listener net.Listener) error {
	types, err := newSchemes()
	if err != nil {
		return err
	}
	storage, err := newStorageOptions(types, o.Etcd)
	if err != nil {
		return err
	}
	c := genericapiserver.NewConfig(types.codecs)
	c.RESTOptionsGetter = storage
	c.EffectiveVersion = servedVersion{compatibility.DefaultBuildEffectiveVersion(), o.Version}
	limit(c)
	document(c, types)
	all, err := groups(storage, o.NodeTransport)
	if err != nil {
		return err
	}
	if err := traced(all[corev1.SchemeGroupVersion], o.Tracer); err != nil {
		return err
	}
	known, err := s.identify(all)
	if err != nil {
		return err
	}
	if err := s.secure(c, listener, known); err != nil {
		return err
	}
	if err := checkStore(c, storage.config); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(c.LoopbackClientConfig)
	if err != nil {
		return err
	}
	shared := informers.NewSharedInformerFactory(client, 0)
	store, err := newQuotaStore(all[corev1.SchemeGroupVersion])
	if err != nil {
		return err
	}
	if c.AdmissionControl, err = admissionChain(client, shared, known.from.Pods, newQuotas(store, c.DrainedNotify())); err != nil {
		return err
	}
	c.AddPostStartHookOrDie(namespacesHook, makeNamespaces(client))
	c.AddPostStartHookOrDie(classesHook, makeClasses(client))
	if s.generic, err = c.Complete(shared).New("carob", genericapiserver.NewEmptyDelegate()); err != nil {
		return err
	}
	s.generic.ShutdownTimeout = shutdownGrace
	serveNoExtensions(s.generic.Handler.NonGoRestfulMux)
	serveTraces(s.generic.Handler.NonGoRestfulMux, o.Tracer)
	if err := serveIssuer(s.generic.Handler.NonGoRestfulMux, known.signer); err != nil {
		return err
	}
	if err := install(s.generic, types, all); err != nil {
		return err
	}
	serveOpenAPI(s.generic, c)
	return nil
}

// limit turns off what costs memory or time and has no use here.
func limit(c *genericapiserver.Config) {
	c.EnableProfiling = false
	c.StorageObjectCountTracker = nil
	c.ShutdownWatchTerminationGracePeriod = watchGrace
	c.LongRunningFunc = genericfilters.BasicLongRunningRequestCheck(
		sets.NewString("watch"), sets.NewString("log", "exec", "attach", "portforward"))
}

// document describes the types, for kubectl explain and for the merging of
// applied objects.
func document(c *genericapiserver.Config, types *schemes) {
	namer := apiopenapi.NewDefinitionNamer(types.external)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, namer)
	c.OpenAPIConfig.Info.Title = "carob"
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, namer)
	c.OpenAPIV3Config.Info.Title = "carob"
	c.SkipOpenAPIInstallation = true // serveOpenAPI does
}

// secure sets who is believed and what they may do.
func (s *Server) secure(c *genericapiserver.Config, listener net.Listener, known *tokens) error {
	server := s.pki.Server()
	cert, err := dynamiccertificates.NewStaticCertKeyContent("apiserver", server.Cert, server.Key)
	if err != nil {
		return err
	}
	ca, err := dynamiccertificates.NewStaticCAContent("clients", s.pki.CA())
	if err != nil {
		return err
	}
	c.SecureServing = &genericapiserver.SecureServingInfo{Listener: listener, Cert: cert, ClientCA: ca}
	// A request without a certificate or a token is anonymous; one with a
	// certificate or a token that nobody here signed is refused.
	c.Authentication.APIAudiences = apiAudiences()
	c.Authentication.Authenticator = union.NewFailOnError(
		group.NewAuthenticatedGroupAdder(union.NewFailOnError(
			x509.NewDynamic(ca.VerifyOptions, x509.CommonNameUserConversion),
			bearertoken.New(known), websocket.NewProtocolAuthenticator(known))),
		anonymous.NewAuthenticator(nil))
	c.Authorization.Authorizer = authorizer.AuthorizerFunc(authorize)
	c.LoopbackClientConfig, err = s.ClientConfig(loopbackUser, pki.GroupMasters)
	return err
}

// checkStore makes the health of the store part of the server's.
func checkStore(c *genericapiserver.Config, config storagebackend.Config) error {
	check, err := storagefactory.CreateHealthCheck(config, c.DrainedNotify())
	if err != nil {
		return err
	}
	c.AddHealthChecks(healthz.NamedCheck("etcd", func(*http.Request) error { return check() }))
	return nil
}

func admissionChain(client kubernetes.Interface, shared informers.SharedInformerFactory, pods podGetter, charges *quotas) (admission.Interface, error) {
	l, err := lifecycle.NewLifecycle(sets.New(immortalNamespaces()...))
	if err != nil {
		return nil, err
	}
	initializer.New(client, nil, shared, nil, nil, nil, nil, nil).Initialize(l)
	if err := l.ValidateInitialization(); err != nil {
		return nil, err
	}
	security, err := newPodSecurity(client, shared)
	if err != nil {
		return nil, err
	}
	accounts, err := newAccounts(client, shared)
	if err != nil {
		return nil, err
	}
	// Quotas come last: what another refuses is not charged.
	return admission.NewChainHandler(l, accounts, newNodeTokens(pods), newPriorities(client, shared), newRuntimeClasses(client, shared),
		newLimits(shared), newResizes(shared), newClaims(shared), security, charges), nil
}

// servedVersion answers with carob's version where the library would tell its
// own.
type servedVersion struct {
	basecompatibility.EffectiveVersion
	info apiversion.Info
}

// Info is what /version answers.
func (v servedVersion) Info() *apiversion.Info { return &v.info }
