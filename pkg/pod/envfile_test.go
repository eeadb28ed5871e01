package pod_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func TestVariablesFromFiles(t *testing.T) {
	const broken, lost = "couldn't parse env file", `environment variable key "KEY" not found in file "/data/e"`
	for _, tc := range []struct {
		name, text, want, err string
		optional              bool
		fail                  error
	}{
		{name: "simple", text: "A='1'\nKEY='two words' # why\nKEY='later'\n", want: "two words"},
		{name: "literal", text: "  KEY='$A \\n \"x\" #y'\r\n", want: `$A \n "x" #y`},
		{name: "several lines", text: "# first\n\nA='x\n KEY=1\n'\nKEY='a\n\n b'", want: "a\n\n b"},
		{name: "what comes later is not read", text: "KEY='v'\nnonsense", want: "v"},
		{name: "not there", text: "A='1'", err: lost},
		{name: "a space", text: "KEY= 'v'\n", err: lost},
		{name: "empty", text: "KEY=''\n", err: lost},
		{name: "optional", text: "A='1'", optional: true},
		{name: "no sign", text: "KEY\n", err: broken},
		{name: "no name", text: "='v'\n", err: broken},
		{name: "space before the sign", text: "KEY ='v'\n", err: broken},
		{name: "no quotes", text: "KEY=v\n", err: broken},
		{name: "open", text: "KEY='v\n", err: broken},
		{name: "text behind", text: "KEY='v'x\n", err: broken},
		{name: "a long line", text: "KEY='" + strings.Repeat("x", 64<<10) + "'\n", err: broken},
		{name: "no file", fail: fs.ErrNotExist, optional: true, err: broken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := podtest.NewPod("", "a")
			c := &p.Spec.Containers[0]
			c.Env = []corev1.EnvVar{{Name: "V", ValueFrom: &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{
				VolumeName: "v", Path: "e", Key: "KEY", Optional: ptr.To(tc.optional),
			}}}}
			refs := pod.EnvFiles(c)
			if len(refs) != 1 {
				t.Fatalf("files: %v", refs)
			}
			env, err := pod.EnvFor(p, c, pod.EnvSources{Files: map[pod.FileRef]pod.EnvFile{refs[0]: {Path: "/data/e", Text: tc.text, Err: tc.fail}}})
			if tc.err != "" {
				if err == nil || err.Error() != tc.err || !errors.Is(err, pod.ErrConfig) {
					t.Errorf("error %v, want %s", err, tc.err)
				}
				return
			}
			got := ""
			if len(env.Vars) > 0 {
				got = env.Vars[0].Value
			}
			if err != nil || got != tc.want || len(env.Vars) == 0 != tc.optional {
				t.Errorf("%v %v, want %q", env.Vars, err, tc.want)
			}
		})
	}
	p := podtest.NewPod("", "a")
	c := &p.Spec.Containers[0]
	c.Env = []corev1.EnvVar{{Name: "V", ValueFrom: &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: "none"}}}}
	if _, err := pod.EnvFor(p, c, pod.EnvSources{}); err == nil || err.Error() != `cannot find the volume "none" referenced by FileKeyRef` {
		t.Errorf("without the volume: %v", err)
	}
}
