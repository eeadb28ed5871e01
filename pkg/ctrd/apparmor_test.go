package ctrd

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/carob-project/carob/pkg/pod"
)

type fakeProfiles struct {
	list string
	err  error
}

func (f fakeProfiles) loaded(name string) (bool, error) {
	return names(strings.NewReader(f.list), name)
}
func (f fakeProfiles) loadDefault() (string, error) { return theDefault, f.err }

const theDefault = "the default"

func TestAppArmorProfile(t *testing.T) {
	broken := errors.New("no parser")
	for name, tc := range map[string]struct {
		sec  pod.Security
		off  bool
		load error
		want string
		err  error
	}{
		"nothing said":             {want: theDefault},
		"nothing said, not there":  {off: true},
		"nothing said, not loaded": {load: broken},
		"default, not loaded":      {sec: pod.Security{AppArmor: pod.AppArmor{Required: true}}, load: broken, err: broken},
		"default":                  {sec: pod.Security{AppArmor: pod.AppArmor{Required: true}}, want: theDefault},
		"privileged":               {sec: pod.Security{Privileged: true, AppArmor: pod.AppArmor{Required: true}}},
		"unconfined":               {sec: pod.Security{AppArmor: pod.AppArmor{Unconfined: true}}},
		"local":                    {sec: pod.Security{Privileged: true, AppArmor: pod.AppArmor{Profile: "my own"}}, want: "my own"},
		"local, missing":           {sec: pod.Security{AppArmor: pod.AppArmor{Profile: "my"}}, err: errNoProfile},
		"local, off":               {sec: pod.Security{AppArmor: pod.AppArmor{Profile: "my own"}}, off: true, err: errNoProfile},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := appArmorFor(&tc.sec, !tc.off, fakeProfiles{"other (complain)\nmy own (enforce)\n", tc.load}, zap.NewNop())
			if !errors.Is(err, tc.err) || err == nil && got != tc.want {
				t.Errorf("%q %v, want %q %v", got, err, tc.want, tc.err)
			}
		})
	}
}
