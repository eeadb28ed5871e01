package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/carob-project/carob/pkg/tracing"
	"github.com/carob-project/carob/pkg/tracing/waterfall"
)

const traceExample = `  # Where the time of a pod's start went
  carob trace web-7d9c

  # Its start only, and as JSON
  carob trace web-7d9c --stage start
  carob trace web-7d9c -o json

  # An earlier pod of the same name
  carob trace db-0 --uid 0b9f3c52-5f0e-4c1e-9d2e-7c1f4f6f2a11`

// traceOptions are the flags of `carob trace`.
type traceOptions struct {
	output, uid, stage string
}

func (a *app) traceCommand(flags *genericclioptions.ConfigFlags) *cobra.Command {
	var o traceOptions
	cmd := &cobra.Command{
		Use:   "trace POD",
		Short: "Show where the time of a pod's start, life and end went",
		Long: "Show the spans of a pod as a waterfall: from the request that made it over scheduling, network, image and\n" +
			"containers to its status; what happened to it later, such as restarts; and its end, also after it has gone.\n" +
			"carob keeps them in memory for the last pods. Only an administrator may read them.",
		Example: traceExample,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			return a.trace(ctx, flags, strings.TrimPrefix(strings.TrimPrefix(args[0], "pods/"), "pod/"), o)
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "json, or nothing for a waterfall")
	cmd.Flags().StringVar(&o.uid, "uid", "", "UID of the pod, where several had the name (default: the newest)")
	cmd.Flags().StringVar(&o.stage, "stage", "", "show one stage only: start, later or end")
	return cmd
}

func (o traceOptions) check() error {
	switch o.output {
	case "", "json":
	default:
		return fmt.Errorf("--output: %q: must be json, or left out", o.output)
	}
	switch tracing.Stage(o.stage) {
	case "", tracing.Start, tracing.Later, tracing.End:
		return nil
	}
	return fmt.Errorf("--stage: %q: must be start, later or end", o.stage)
}

func (a *app) trace(ctx context.Context, flags *genericclioptions.ConfigFlags, name string, o traceOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return err
	}
	data, err := fetchTrace(ctx, flags, namespace, name, o.uid)
	if err != nil {
		return err
	}
	var t tracing.Trace
	if err := json.Unmarshal(data, &t); err != nil {
		return fmt.Errorf("the answer is no trace: %w", err)
	}
	if o.output == "json" {
		e := json.NewEncoder(a.Out)
		e.SetIndent("", "  ")
		return e.Encode(t)
	}
	show := waterfall.Options{Stage: tracing.Stage(o.stage)}
	if f, ok := a.Out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if show.Width, _, err = term.GetSize(int(f.Fd())); err != nil {
			show.Width = 0 // it does not tell
		}
		show.Color = os.Getenv("NO_COLOR") == ""
	}
	return waterfall.Write(a.Out, t, show)
}

func fetchTrace(ctx context.Context, flags *genericclioptions.ConfigFlags, namespace, name, uid string) ([]byte, error) {
	d, err := flags.ToDiscoveryClient()
	if err != nil {
		return nil, err
	}
	req := d.RESTClient().Get().AbsPath(tracing.Path, namespace, name)
	if uid != "" {
		req = req.Param("uid", uid)
	}
	res := req.Do(ctx)
	data, err := res.Raw()
	if apierrors.IsNotFound(err) && len(data) > 0 {
		return nil, fmt.Errorf("%s", strings.TrimSpace(string(data)))
	}
	return data, err
}
