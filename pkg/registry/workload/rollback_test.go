package workload_test

import (
	"testing"

	"github.com/carob-project/carob/pkg/registry/workload"
)

func TestValidateRollback(t *testing.T) {
	const (
		key      = "carob.dev/rollback"
		deadline = "carob.dev/progress-deadline-seconds"
	)
	type annotations = map[string]string
	for name, c := range map[string]struct {
		now, old annotations
		want     string
	}{
		"none":            {},
		"as documented":   {now: annotations{key: "on-failure", deadline: "60"}},
		"another value":   {now: annotations{key: "always"}, want: `metadata.annotations[carob.dev/rollback]: Unsupported value: "always": supported values: "on-failure"`},
		"empty":           {now: annotations{key: ""}, want: `metadata.annotations[carob.dev/rollback]: Unsupported value: "": supported values: "on-failure"`},
		"no number":       {now: annotations{deadline: "1m"}, want: `metadata.annotations[carob.dev/progress-deadline-seconds]: Invalid value: "1m": must be a number of seconds greater than 0`},
		"zero":            {now: annotations{deadline: "0"}, want: `metadata.annotations[carob.dev/progress-deadline-seconds]: Invalid value: "0": must be a number of seconds greater than 0`},
		"there before":    {now: annotations{key: "always"}, old: annotations{key: "always"}},
		"changed to this": {now: annotations{key: "never"}, old: annotations{key: "always"}, want: `metadata.annotations[carob.dev/rollback]: Unsupported value: "never": supported values: "on-failure"`},
		"taken away":      {old: annotations{key: "always"}},
	} {
		got := ""
		if err := workload.ValidateRollback(c.now, c.old).ToAggregate(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %s, not %s", name, got, c.want)
		}
	}
}
