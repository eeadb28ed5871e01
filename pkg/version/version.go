// Package version says which carob this is. The values are set by the linker.
package version

import (
	"runtime"

	apiversion "k8s.io/apimachinery/pkg/version"
)

// Set with -ldflags -X by the Makefile.
var (
	carob  = "0.1.0-dev"
	commit = "unknown"
	date   = "1970-01-01T00:00:00Z"
)

// kubernetes is the release whose API carob serves; clients compare it with
// their own to tell what they may use.
const (
	kubernetes      = "1.37.2"
	kubernetesMajor = "1"
	kubernetesMinor = "37"
)

// Carob returns carob's own version, without a leading v.
func Carob() string { return carob }

// Commit returns the commit carob was built from.
func Commit() string { return commit }

// Kubernetes returns the version the API reports, such as v1.37.2+carob.0.1.0:
// a semantic version whose build part names carob.
func Kubernetes() string { return "v" + kubernetes + "+carob." + carob }

// Info is what /version answers.
func Info() apiversion.Info {
	return apiversion.Info{
		Major: kubernetesMajor, Minor: kubernetesMinor,
		GitVersion: Kubernetes(), GitCommit: commit, GitTreeState: "clean", BuildDate: date,
		GoVersion: runtime.Version(), Compiler: runtime.Compiler,
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}
