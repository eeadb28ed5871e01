package ctrd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/contrib/apparmor"
	"go.uber.org/zap"

	"github.com/carob-project/carob/pkg/pod"
)

const (
	appArmorDir    = "/sys/kernel/security/apparmor"
	loadedProfiles = appArmorDir + "/profiles"
	removeProfile  = appArmorDir + "/.remove"
)

// SecurityModules tells which ones confine processes on this machine. They do
// not change while it runs.
func SecurityModules() pod.SecurityModules {
	var m pod.SecurityModules
	if _, err := os.Stat(appArmorDir); err == nil {
		on, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled") // none: it is off
		m.AppArmor = strings.HasPrefix(string(on), "Y")
	}
	contexts, err := nodeContexts()
	m.SELinux, m.Labels = contexts != nil || err != nil, contexts != nil
	return m
}

// profiles are the AppArmor profiles of the node.
type profiles interface {
	// loaded says whether one of that name can be used.
	loaded(name string) (bool, error)
	// loadDefault makes the default one usable and returns its name.
	loadDefault() (string, error)
}

var errNoProfile = errors.New("apparmor profile not found")

// appArmorFor returns the profile of an attempt, empty for none.
func appArmorFor(sec *pod.Security, enabled bool, on profiles, log *zap.Logger) (string, error) {
	want := sec.AppArmor
	switch {
	case want.Unconfined:
		return "", nil
	case want.Profile != "":
		ok := false
		var err error
		if enabled {
			ok, err = on.loaded(want.Profile)
		}
		if err == nil && !ok {
			err = fmt.Errorf("%w %s", errNoProfile, want.Profile)
		}
		return want.Profile, err
	case !enabled || sec.Privileged:
		return "", nil
	}
	name, err := on.loadDefault()
	if err == nil {
		return name, nil
	}
	if want.Required {
		return "", fmt.Errorf("the default AppArmor profile: %w", err)
	}
	log.Warn("containers run without an AppArmor profile, as the default one cannot be loaded", zap.Error(err))
	return "", nil
}

// kernelProfiles are those that the kernel has, for an instance of carob with
// this ID. Each has a default one of its own, so that it can be unloaded: the
// kernel frees from a profile that goes whom it confines.
type kernelProfiles string

// ownDefault is the name of the instance's default profile.
func (k kernelProfiles) ownDefault() string { return "carob-default-" + string(k) }

func (kernelProfiles) loaded(name string) (bool, error) {
	f, err := os.Open(loadedProfiles)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return names(f, name)
}

// loadDefault loads the profile where it is missing; its rules are containerd's.
func (k kernelProfiles) loadDefault() (string, error) {
	return k.ownDefault(), apparmor.LoadDefaultProfile(k.ownDefault())
}

// unloadDefault undoes loadDefault. No container may be under the profile.
func (k kernelProfiles) unloadDefault() error {
	if ok, err := k.loaded(k.ownDefault()); err != nil || !ok {
		return err
	}
	f, err := os.OpenFile(removeProfile, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(k.ownDefault())
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("unload the AppArmor profile %s: %w", k.ownDefault(), err)
	}
	return nil
}

// names says whether a list of profiles, each with its mode in parentheses, has
// the name.
func names(list io.Reader, name string) (bool, error) {
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		line := lines.Text()
		if i := strings.LastIndex(line, " ("); i >= 0 && line[:i] == name {
			return true, nil
		}
	}
	return false, lines.Err()
}
