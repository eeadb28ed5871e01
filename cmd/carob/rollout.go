package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/kubectl/pkg/polymorphichelpers"
	"k8s.io/kubectl/pkg/scheme"

	"github.com/carob-project/carob/pkg/rollout"
)

const rolloutDiffExample = `  # What the last change of a Deployment was
  carob rollout diff deployment/web

  # What has changed since revision 3
  carob rollout diff deployment/web --revision 3

  # What an undo to revision 2 would change
  carob rollout diff statefulset/db --revision 5 --to 2`

// addRolloutDiff adds a command to kubectl's group of that name.
func (a *app) addRolloutDiff(root *cobra.Command, flags *genericclioptions.ConfigFlags) {
	var from, to int64
	cmd := &cobra.Command{
		Use:   "diff (TYPE NAME | TYPE/NAME) [flags]",
		Short: "Show what changed between two revisions",
		Long: "Show what changed in the pod template of a Deployment, StatefulSet or DaemonSet between two revisions.\n\n" +
			"It runs diff, or what KUBECTL_EXTERNAL_DIFF names; where the output is a terminal it has colours. That there are differences is no failure.",
		Example: rolloutDiffExample,
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			templates, err := history(flags, args)
			if err != nil {
				return err
			}
			from, to, err := rollout.Pair(templates, from, to)
			if err != nil {
				return err
			}
			return a.showDiff(cmd.Context(), map[int64]*corev1.PodTemplateSpec{from: templates[from], to: templates[to]}, from, to)
		},
	}
	cmd.Flags().Int64Var(&from, "revision", 0, "The revision to begin with; by default the one before the other.")
	cmd.Flags().Int64Var(&to, "to", 0, "The revision to compare it with; by default the latest.")
	for _, c := range root.Commands() {
		if c.Name() == "rollout" {
			c.AddCommand(cmd)
		}
	}
}

// history returns the pod templates of a workload by revision.
func history(flags *genericclioptions.ConfigFlags, args []string) (map[int64]*corev1.PodTemplateSpec, error) {
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	info, err := resource.NewBuilder(flags).WithScheme(scheme.Scheme, scheme.Scheme.PrioritizedVersionsAllGroups()...).
		NamespaceParam(namespace).DefaultNamespace().ResourceTypeOrNameArgs(false, args...).SingleResourceType().
		Latest().Flatten().Do().Infos()
	if err != nil {
		return nil, err
	}
	if len(info) != 1 {
		return nil, fmt.Errorf("%d objects are named, where one can be compared", len(info))
	}
	viewer, err := polymorphichelpers.HistoryViewerFn(flags, info[0].Mapping)
	if err != nil {
		return nil, err
	}
	revisions, err := viewer.GetHistory(info[0].Namespace, info[0].Name)
	if err != nil {
		return nil, err
	}
	return rollout.Templates(revisions)
}

// showDiff runs the program that compares. It ends with 1 where there are
// differences.
func (a *app) showDiff(ctx context.Context, templates map[int64]*corev1.PodTemplateSpec, from, to int64) (err error) {
	dir, err := os.MkdirTemp("", "carob-diff-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for number, t := range templates {
		data, err := rollout.YAML(t)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, strconv.FormatInt(number, 10)), data, 0o600); err != nil {
			return err
		}
	}
	name := func(n int64) string { return strconv.FormatInt(n, 10) }
	args := []string{
		"diff", "-u", "--color=auto", "--label", "revision " + name(from), "--label", "revision " + name(to), "--", name(from), name(to),
	}
	if external := os.Getenv("KUBECTL_EXTERNAL_DIFF"); external != "" {
		// A command with arguments, as kubectl diff takes it.
		args = []string{"sh", "-c", external + ` "$@"`, "diff", name(from), name(to)}
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // the user's own program
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, a.Out, a.ErrOut
	var ended *exec.ExitError
	if err = cmd.Run(); errors.As(err, &ended) && ended.ExitCode() == 1 {
		return nil
	}
	return err
}
