// Command carob runs pods on containerd: Kubernetes API, scheduler,
// controllers and node agent in one process, with kubectl's verbs built in.
// This package holds flags and wiring only; it is the sole place that picks
// implementations.
package main

import (
	"k8s.io/component-base/cli"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(newCommand()); err != nil {
		cmdutil.CheckErr(err)
	}
}
