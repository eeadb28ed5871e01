package credentialprovider

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const oneGood = `apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- {name: good, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: ["*.example:5000/a"], defaultCacheDuration: 1h}
`

// write puts a file into dir, and returns its path.
func write(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.WriteFile(p, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLoadRefuses(t *testing.T) {
	bin := t.TempDir()
	write(t, bin, "good", "#!/bin/sh\n", 0o700)
	write(t, bin, "data", "", 0o600)
	with := func(from, to string) string { return strings.Replace(oneGood, from, to, 1) }
	tokens := func(text string) string {
		return with("defaultCacheDuration: 1h", "defaultCacheDuration: 1h, tokenAttributes: {"+text+"}")
	}
	for name, x := range map[string]struct {
		text string
		want []string
	}{
		"no providers":     {"apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n", []string{"providers: Required value"}},
		"another kind":     {with("kind: Cred", "kind: Sec"), []string{"kind", "SecentialProviderConfig"}},
		"another group":    {with("kubelet.config.k8s.io/v1", "apps/v1"), []string{`apiVersion: "apps/v1"`}},
		"unknown field":    {with("name: good", "name: good, nome: x"), []string{"nome"}},
		"twice":            {oneGood + strings.SplitN(oneGood, "\n", 4)[3], []string{`providers[1].name: Duplicate value: "good"`}},
		"slash":            {with("name: good", "name: ../good"), []string{"providers[0].name", "cannot contain '/'"}},
		"space":            {with("name: good", "name: 'a b'"), []string{"cannot contain spaces"}},
		"dots":             {with("name: good", "name: '..'"), []string{"cannot be '..'"}},
		"no name":          {with("name: good, ", ""), []string{"providers[0].name: Required value"}},
		"version":          {with("k8s.io/v1, match", "k8s.io/v7, match"), []string{"providers[0].apiVersion: Unsupported value"}},
		"no version":       {with("apiVersion: credentialprovider.kubelet.k8s.io/v1, ", ""), []string{"providers[0].apiVersion: Required value"}},
		"no images":        {with(`["*.example:5000/a"]`, "[]"), []string{"providers[0].matchImages: Required value"}},
		"no image":         {with(`["*.example:5000/a"]`, `["a:b:c%"]`), []string{"providers[0].matchImages[0]: Invalid value", "match image is invalid"}},
		"no duration":      {with(", defaultCacheDuration: 1h", ""), []string{"providers[0].defaultCacheDuration: Required value"}},
		"negative":         {with("1h", "-1h"), []string{"must be greater than or equal to 0"}},
		"no plugin":        {with("name: good", "name: missing"), []string{"plugin binary executable " + bin + "/missing"}},
		"not executable":   {with("name: good", "name: data"), []string{"plugin binary executable " + bin + "/data"}},
		"tokens, empty":    {tokens(""), []string{"serviceAccountTokenAudience: Required", "requireServiceAccount: Required", "cacheType: Required"}},
		"tokens, old":      {strings.Replace(tokens(""), "k8s.io/v1, m", "k8s.io/v1beta1, m", 1), []string{"only supported for credentialprovider.kubelet.k8s.io/v1 API version"}},
		"tokens, type":     {tokens("cacheType: Pod"), []string{"cacheType: Unsupported value"}},
		"tokens, keys":     {tokens("requireServiceAccount: false, requiredServiceAccountAnnotationKeys: [a, a, '-']"), []string{"requireServiceAccount cannot be false", "AnnotationKeys[1]: Duplicate", "AnnotationKeys[2]: Invalid"}},
		"tokens, both":     {tokens("requiredServiceAccountAnnotationKeys: [a], optionalServiceAccountAnnotationKeys: [a]"), []string{"cannot be both required and optional"}},
		"no YAML":          {"{", []string{"error decoding config"}},
		"several mistakes": {with("name: good, apiVersion: credentialprovider.kubelet.k8s.io/v1", "name: 'a b'"), []string{"spaces", "apiVersion: Required"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, t.TempDir(), "c.yaml", x.text, 0o600)
			_, err := Load(file, bin)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range x.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in %v", w, err)
				}
			}
		})
	}
	file := write(t, t.TempDir(), "c.yaml", oneGood, 0o600)
	if _, err := Load(file, bin); err != nil {
		t.Error(err)
	}
	if _, err := Load(file, bin+"/nowhere"); err == nil {
		t.Error("a directory that is not there")
	}
	if _, err := Load("/nowhere", bin); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("a file that is not there: %v", err)
	}
	if c, err := Load("", ""); err != nil || len(c.providers) != 0 {
		t.Errorf("none: %v %v", c, err)
	}
}

func TestLoadReadsADirectoryInOrder(t *testing.T) {
	dir, bin := t.TempDir(), t.TempDir()
	if _, err := Load(dir, bin); err == nil || !strings.Contains(err.Error(), "no configuration files found") {
		t.Errorf("an empty one: %v", err)
	}
	for file, name := range map[string]string{"b.json": "second", "a.yml": "first", "c.yaml": "third", "d.txt": "no"} {
		write(t, dir, file, strings.Replace(oneGood, "good", name, 1), 0o600)
		write(t, bin, name, "#!/bin/sh\n", 0o700)
	}
	// JSON is YAML as well.
	c, err := Load(dir, bin)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range c.providers {
		got = append(got, p.Name)
	}
	if strings.Join(got, " ") != "first second third" {
		t.Errorf("got %v", got)
	}
}

func TestMatches(t *testing.T) {
	for _, x := range []struct {
		pattern, image string
		want           bool
	}{
		{"docker.io", "docker.io/library/busybox", true},
		{"*.docker.io", "blah.docker.io/a", true},
		{"*.docker.io", "docker.io/a", false},
		{"*.io", "k8s.docker.io/a", false},
		{"app*.k8s.io", "app7.k8s.io/a", true},
		{"k8s.*", "k8s.io/a", true},
		{"r.example", "r.example:5000/a", false},
		{"r.example:5000", "r.example:5000/a", true},
		{"r.example:5000", "r.example:5001/a", false},
		{"r.example/tools", "r.example/tools/a", true},
		{"r.example/tools/a", "r.example/tools", false},
		{"r.[example", "r.example/a", false},
		{"127.0.0.1:5000", "127.0.0.1:5000/a", true},
	} {
		if got := matches(x.pattern, x.image); got != x.want {
			t.Errorf("%s for %s: %v", x.pattern, x.image, got)
		}
	}
}
