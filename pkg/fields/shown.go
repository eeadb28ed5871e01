package fields

import "strings"

// Proof names the test that shows a field, or all fields below a path, at
// work.
type Proof struct {
	// Path is a path of the table or an inner one. "container" stands for
	// each of the lists of containers.
	Path string
	// Test is a folder of the source tree and a test in it.
	Test string
}

// containerLists are the lists that "container" stands for.
var containerLists = []string{"spec.initContainers[]", "spec.containers[]", "spec.ephemeralContainers[]"}

// The tests that show most fields.
const (
	testClasses   = "e2e/classes.TestClasses"
	testConfig    = "e2e/config.TestVariables"
	testFields    = "e2e/fields.TestFields"
	testIdentity  = "e2e/identity.TestIdentity"
	testInput     = "e2e/input.TestRefusedByTheAPI"
	testInside    = "e2e/inside.TestInside"
	testLife      = "e2e/life.TestLifeCycle"
	testManifests = "e2e/manifests.TestManifests"
	testMounts    = "e2e/mounts.TestMounts"
	testNode      = "e2e/security.TestNamespacesOfTheNode"
	testPods      = "e2e/pods.TestContainersOfAPodShareTheNetwork"
	testPrivilege = "e2e/security.TestPrivileges"
	testResize    = "e2e/resize.TestResize"
	testStorage   = "e2e/storage.TestStorage"
	testUsers     = "e2e/security.TestUsersAndGroups"
	testVolumes   = "e2e/security.TestVolumesBelongToTheGroup"
)

// Proofs returns, for every honoured field, which test shows it. Of several
// entries above a path the longest counts.
func Proofs() []Proof { return proofs }

// ShownBy returns the test that shows the field at path at work.
func ShownBy(path string) (test string, ok bool) {
	path = shared(path)
	longest := -1
	for _, p := range proofs {
		below := strings.HasPrefix(path, p.Path) && (len(path) == len(p.Path) || strings.ContainsRune(".[", rune(path[len(p.Path)])))
		if below && len(p.Path) > longest {
			test, longest = p.Test, len(p.Path)
		}
	}
	return test, longest >= 0
}

// shared gives the lists of containers one name.
func shared(path string) string {
	for _, list := range containerLists {
		if rest, ok := strings.CutPrefix(path, list); ok {
			return "container" + rest
		}
	}
	return path
}
