package apiserver

import (
	"net/http"

	"k8s.io/apiserver/pkg/server/mux"
)

// crdPath is where clients list the kinds that users have defined.
const crdPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// noExtensions is the list of kinds that users have defined: none.
const noExtensions = `{"kind":"CustomResourceDefinitionList","apiVersion":"apiextensions.k8s.io/v1","metadata":{"resourceVersion":"0"},"items":[]}` + "\n"

// serveNoExtensions answers the list of custom resource definitions with an
// empty one, though the group is not served and discovery does not name it.
// kubectl asks for it before it says that it does not know a kind; were the
// answer 404, it would tell users that their custom resource definitions cannot
// be listed, and not what is wrong with their file.
func serveNoExtensions(m *mux.PathRecorderMux) {
	m.UnlistedHandle(crdPath, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Query().Has("watch") {
			http.Error(w, "custom resource definitions can only be listed here", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(noExtensions)) // the client has gone
	}))
}
