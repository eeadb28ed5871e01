package apiserver

import (
	"net/http"
	"sync"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
)

// serveOpenAPI serves the descriptions of the API. The library builds them at
// every start and keeps them, although only clients of people ask for them;
// here they are built when the first one asks. The server has to have all its
// groups by then.
func serveOpenAPI(s *genericapiserver.GenericAPIServer, c *genericapiserver.Config) {
	describe := routes.OpenAPI{Config: c.OpenAPIConfig, V3Config: c.OpenAPIV3Config}
	v2 := onDemand(func(m *mux.PathRecorderMux) { describe.InstallV2(s.Handler.GoRestfulContainer, m) })
	v3 := onDemand(func(m *mux.PathRecorderMux) { describe.InstallV3(s.Handler.GoRestfulContainer, m) })
	public := s.Handler.NonGoRestfulMux
	public.Handle("/openapi/v2", v2)
	public.Handle("/openapi/v3", v3)
	public.UnlistedHandlePrefix("/openapi/v3/", v3)
}

// onDemand is a handler that install puts together when the first request
// comes.
func onDemand(install func(*mux.PathRecorderMux)) http.Handler {
	made := sync.OnceValue(func() http.Handler {
		m := mux.NewPathRecorderMux("openapi")
		install(m)
		return m
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { made().ServeHTTP(w, r) })
}
