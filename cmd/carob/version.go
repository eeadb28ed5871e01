package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/yaml"

	"github.com/carob-project/carob/pkg/version"
)

// versions is the output of `carob version`.
type versions struct {
	Carob  string           `json:"carob"`
	Commit string           `json:"commit"`
	Client apiversion.Info  `json:"clientVersion"`
	Server *apiversion.Info `json:"serverVersion,omitempty"`
}

func (a *app) versionCommand(flags *genericclioptions.ConfigFlags) *cobra.Command {
	var output string
	var clientOnly bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this binary and of the carob it reaches",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versions{Carob: version.Carob(), Commit: version.Commit(), Client: version.Info()}
			var unreached error
			if !clientOnly {
				v.Server, unreached = serverVersion(flags)
			}
			if err := a.printVersions(v, output); err != nil {
				return err
			}
			if unreached != nil {
				return fmt.Errorf("no server: %w", unreached)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json or yaml")
	cmd.Flags().BoolVar(&clientOnly, "client", false, "print this binary's version only")
	return cmd
}

func serverVersion(flags *genericclioptions.ConfigFlags) (*apiversion.Info, error) {
	d, err := flags.ToDiscoveryClient()
	if err != nil {
		return nil, err
	}
	d.Invalidate()
	return d.ServerVersion()
}

func (a *app) printVersions(v versions, output string) error {
	switch output {
	case "json":
		e := json.NewEncoder(a.Out)
		e.SetIndent("", "  ")
		return e.Encode(v)
	case "yaml":
		out, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		_, err = a.Out.Write(out)
		return err
	case "":
		fmt.Fprintf(a.Out, "carob %s (commit %s, %s)\nClient Version: %s\n", v.Carob, v.Commit, v.Client.GoVersion, v.Client.GitVersion)
		if v.Server != nil {
			fmt.Fprintf(a.Out, "Server Version: %s\n", v.Server.GitVersion)
		}
		return nil
	}
	return fmt.Errorf("--output: %q: must be json or yaml", output)
}
