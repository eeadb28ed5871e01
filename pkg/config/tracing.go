package config

import (
	"fmt"
	"math"

	"github.com/spf13/pflag"

	"github.com/carob-project/carob/pkg/tracing"
)

// Tracing is where the spans of pods go.
type Tracing struct {
	// TracingEndpoint is a collector that takes OTLP over gRPC; empty: none.
	TracingEndpoint string `json:"tracing-endpoint"`
	// TracingSamplingRatio is the part of the pods whose traces go there.
	TracingSamplingRatio float64 `json:"tracing-sampling-ratio"`
}

// addFlags adds the settings to fs.
func (t *Tracing) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&t.TracingEndpoint, "tracing-endpoint", "", "collector of traces that takes OTLP over gRPC, as http://127.0.0.1:4317 (https:// for TLS); without one traces are only kept for carob trace")
	fs.Float64Var(&t.TracingSamplingRatio, "tracing-sampling-ratio", 1, "part of the pods whose traces go to the collector, 0 to 1")
}

// validate tells bad of every mistake.
func (t Tracing) validate(bad func(key, value, rule string)) {
	if t.TracingEndpoint != "" {
		if err := tracing.CheckEndpoint(t.TracingEndpoint); err != nil {
			bad("tracing-endpoint", t.TracingEndpoint, err.Error())
		}
	}
	if r := t.TracingSamplingRatio; math.IsNaN(r) || r < 0 || r > 1 {
		bad("tracing-sampling-ratio", fmt.Sprint(r), "must be between 0 and 1")
	}
}
