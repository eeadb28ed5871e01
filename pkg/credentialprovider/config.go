package credentialprovider

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	kubeletv1 "k8s.io/kubelet/config/v1"
	kubeletv1alpha1 "k8s.io/kubelet/config/v1alpha1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	credentialv1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"
	credentialv1alpha1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1alpha1"
	credentialv1beta1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1beta1"
	"sigs.k8s.io/yaml"
)

// Config is what plugins there are. The zero value has none.
type Config struct {
	binDir    string
	providers []kubeletv1.CredentialProvider
}

const configKind = "CredentialProviderConfig"

// configVersions are those of the file, pluginVersions those that a plugin may
// speak. The older ones say the same in the same words.
var (
	configVersions = []string{
		kubeletv1.SchemeGroupVersion.String(), kubeletv1beta1.SchemeGroupVersion.String(), kubeletv1alpha1.SchemeGroupVersion.String(),
	}
	pluginVersions = []string{
		credentialv1.SchemeGroupVersion.String(), credentialv1alpha1.SchemeGroupVersion.String(), credentialv1beta1.SchemeGroupVersion.String(),
	}
)

// Load reads a CredentialProviderConfig, from a file or from all files of a
// directory that end in .json, .yaml or .yml, in the order of their names, and
// checks that its plugins are in binDir. The error names every mistake with
// its path. Without both there are no plugins.
func Load(path, binDir string) (Config, error) {
	if path == "" && binDir == "" {
		return Config{}, nil
	}
	files, err := configFiles(path)
	if err != nil {
		return Config{}, err
	}
	c := Config{binDir: binDir}
	for _, f := range files {
		some, err := readConfig(f)
		if err != nil {
			return Config{}, fmt.Errorf("error decoding config %q: %w", f, err)
		}
		c.providers = append(c.providers, some...)
	}
	if errs := validate(c.providers); len(errs) > 0 {
		return Config{}, fmt.Errorf("%s: %w", path, errs.ToAggregate())
	}
	return c, c.findPlugins()
}

func configFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("unable to access path %q: %w", path, err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("unable to read directory %q: %w", path, err)
	}
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".json" || ext == ".yaml" || ext == ".yml") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no configuration files found in directory %q", path)
	}
	return files, nil
}

func readConfig(file string) ([]kubeletv1.CredentialProvider, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var c kubeletv1.CredentialProviderConfig
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return nil, err
	}
	if c.Kind != configKind {
		return nil, fmt.Errorf("kind: %q: must be %s", c.Kind, configKind)
	}
	if !slices.Contains(configVersions, c.APIVersion) {
		return nil, fmt.Errorf("apiVersion: %q: must be one of %s", c.APIVersion, strings.Join(configVersions, ", "))
	}
	return c.Providers, nil
}

// findPlugins checks that every plugin can be executed.
func (c Config) findPlugins() error {
	if _, err := os.Stat(c.binDir); err != nil {
		return fmt.Errorf("plugin binary directory %s: %w", c.binDir, err)
	}
	var errs []error
	for _, p := range c.providers {
		file := filepath.Join(c.binDir, p.Name)
		if _, err := exec.LookPath(file); err != nil {
			errs = append(errs, fmt.Errorf("plugin binary executable %s: %w", file, err))
		}
	}
	return errors.Join(errs...)
}

// validate returns every mistake.
func validate(providers []kubeletv1.CredentialProvider) field.ErrorList {
	var errs field.ErrorList
	root := field.NewPath("providers")
	if len(providers) == 0 {
		errs = append(errs, field.Required(root, "at least 1 item in plugins is required"))
	}
	seen := map[string]bool{}
	for i, p := range providers {
		at := root.Index(i)
		errs = append(errs, validateName(at.Child("name"), p.Name)...)
		if seen[p.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
		}
		seen[p.Name] = true
		switch {
		case p.APIVersion == "":
			errs = append(errs, field.Required(at.Child("apiVersion"), ""))
		case !slices.Contains(pluginVersions, p.APIVersion):
			errs = append(errs, field.NotSupported(at.Child("apiVersion"), p.APIVersion, pluginVersions))
		}
		if len(p.MatchImages) == 0 {
			errs = append(errs, field.Required(at.Child("matchImages"), "at least 1 item in matchImages is required"))
		}
		for j, m := range p.MatchImages {
			if _, err := url.Parse(anyScheme + m); err != nil {
				errs = append(errs, field.Invalid(at.Child("matchImages").Index(j), m, fmt.Sprintf("match image is invalid: %v", err)))
			}
		}
		switch d := p.DefaultCacheDuration; {
		case d == nil:
			errs = append(errs, field.Required(at.Child("defaultCacheDuration"), ""))
		case d.Duration < 0:
			errs = append(errs, field.Invalid(at.Child("defaultCacheDuration"), d.Duration.String(), "must be greater than or equal to 0"))
		}
		if p.TokenAttributes != nil {
			errs = append(errs, validateTokens(at.Child("tokenAttributes"), p)...)
		}
	}
	return errs
}

func validateName(at *field.Path, name string) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		errs = append(errs, field.Required(at, ""))
	}
	if strings.Contains(name, "/") {
		errs = append(errs, field.Invalid(at, name, "provider name cannot contain '/'"))
	}
	if strings.Contains(name, " ") {
		errs = append(errs, field.Invalid(at, name, "provider name cannot contain spaces"))
	}
	if name == "." || name == ".." {
		errs = append(errs, field.Invalid(at, name, fmt.Sprintf("provider name cannot be '%s'", name)))
	}
	return errs
}
