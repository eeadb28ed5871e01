package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/carob-project/carob/pkg/folder"
	"github.com/carob-project/carob/pkg/pki"
	"github.com/carob-project/carob/pkg/version"
)

// userFolder keeps the folder, with the rights of whoever may write to it.
const userFolder = "system:carob-manifests"

// eventBurst is how many events about the folder may come at once; then one a
// second.
const eventBurst = 200

// newFolder makes what keeps the folder applied. What it has to tell is told of
// the Node.
func (i *instance) newFolder(ctx context.Context) (runner, error) {
	client, cfg, err := i.client(userFolder, pki.GroupMasters)
	if err != nil {
		return nil, err
	}
	cluster, err := folderAPI(cfg, client.Discovery())
	if err != nil {
		return nil, err
	}
	b := record.NewBroadcasterWithCorrelatorOptions(record.CorrelatorOptions{BurstSize: eventBurst, QPS: 1, MaxEvents: eventBurst})
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	context.AfterFunc(ctx, b.Shutdown)
	recorder := b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: folder.Manager, Host: i.config.NodeName})
	node := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: i.config.NodeName, UID: types.UID(i.config.NodeName)}
	return folder.New(folder.Options{
		Dir: i.config.Manifests, Client: client, Cluster: cluster, Tool: tool(), Log: i.log.Named("manifests"),
		Tell: func(eventType, reason, message string) { recorder.Event(node, eventType, reason, message) },
	})
}

// tool names this program in the record of a set.
func tool() string { return "carob/v" + version.Carob() }

func folderAPI(cfg *rest.Config, d discovery.DiscoveryInterface) (folder.Cluster, error) {
	objects, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	meta, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	return folder.API{Discovery: d, Dynamic: objects, Metadata: meta}, nil
}

var errManifests = errors.New("not everything is as the manifests say")

// manifestsCommand shows what became of the folders' objects.
func (a *app) manifestsCommand(flags *genericclioptions.ConfigFlags) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "manifests",
		Short: "Show what became of the folder that is kept applied",
		Long: "Show every object of the folder that `carob up --manifests` keeps applied, and of folders applied with `carob apply -f DIR --prune`:\n" +
			"its file and line, its state, and what is wrong with it. Exit 1 if anything is wrong.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return fmt.Errorf("-o %s: only json is known beside the table", output)
			}
			cfg, err := flags.ToRESTConfig()
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(cfg)
			if err != nil {
				return err
			}
			reports, err := folder.Reports(cmd.Context(), client)
			if err != nil {
				return err
			}
			return a.showReports(reports, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or the table")
	return cmd
}

func (a *app) showReports(reports []folder.Report, output string) error {
	switch {
	case output == "json":
		if reports == nil {
			reports = []folder.Report{}
		}
		e := json.NewEncoder(a.Out)
		e.SetIndent("", "  ")
		if err := e.Encode(reports); err != nil {
			return err
		}
	case len(reports) == 0:
		fmt.Fprintln(a.ErrOut, "no folder is kept applied: see `carob up --manifests DIR`")
	default:
		if err := folder.Print(a.Out, reports); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(reports, folder.Report.Failed) {
		return errManifests
	}
	return nil
}

// addFolderPrune lets kubectl's apply take a folder with --prune and nothing
// else that would say what to prune. Every other use stays kubectl's.
func (a *app) addFolderPrune(root *cobra.Command, flags *genericclioptions.ConfigFlags) {
	for _, c := range root.Commands() {
		if c.Name() != "apply" {
			continue
		}
		c.Example += "\n\n  # Apply a folder, and delete what was applied from it before and is in no file any more\n" +
			"  carob apply -f DIR --prune"
		before := c.Run
		c.Run = func(cmd *cobra.Command, args []string) {
			dir, ours, err := prunedFolder(cmd.Flags())
			if !ours {
				before(cmd, args)
				return
			}
			if err == nil {
				err = a.applyFolder(cmd.Context(), flags, dir)
			}
			cmdutil.CheckErr(err)
		}
	}
}

// prunedFolder says whether the flags ask for a folder to be applied and pruned,
// and which.
func prunedFolder(fs *pflag.FlagSet) (dir string, ours bool, err error) {
	changed := func(name string) bool {
		f := fs.Lookup(name)
		return f != nil && f.Changed
	}
	prune, _ := fs.GetBool("prune")
	files, _ := fs.GetStringSlice("filename")
	if !prune || len(files) != 1 || changed("selector") || changed("all") || changed("applyset") || changed("prune-allowlist") {
		return "", false, nil
	}
	info, err := os.Stat(files[0])
	if err != nil || !info.IsDir() {
		return "", false, nil //nolint:nilerr // kubectl says what it thinks of it
	}
	for _, name := range []string{"dry-run", "output", "force", "force-conflicts", "field-manager", "cascade", "grace-period", "timeout", "wait", "validate", "overwrite", "openapi-patch", "kustomize"} {
		if changed(name) {
			return "", true, fmt.Errorf("--%s does not go with a folder that is pruned", name)
		}
	}
	dir, err = filepath.Abs(files[0])
	return dir, true, err
}

func (a *app) applyFolder(ctx context.Context, flags *genericclioptions.ConfigFlags, dir string) error {
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return err
	}
	cfg, err := flags.ToRESTConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	cluster, err := folderAPI(cfg, client.Discovery())
	if err != nil {
		return err
	}
	report, did, err := folder.Once(ctx, client, cluster, dir, namespace, tool())
	verbs := map[folder.Key]string{}
	for _, d := range did {
		if verbs[d.Key] = "applied"; d.Pruned {
			verbs[d.Key] = "pruned"
			fmt.Fprintf(a.Out, "%s pruned\n", d.Key)
		}
	}
	if err != nil {
		return err
	}
	for _, r := range report.Rows {
		key := folder.Key{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
		switch {
		case r.Error != "":
			fmt.Fprintln(a.ErrOut, folder.Problem{File: filepath.Join(dir, r.File), Line: r.Line, Field: r.Field, Message: r.Error}.Error())
		case r.State == folder.Applied:
			fmt.Fprintf(a.Out, "%s %s\n", key, verbOf(verbs, key))
		case r.State == folder.Held:
			fmt.Fprintf(a.ErrOut, "%s not applied: its file is wrong\n", key)
		}
	}
	if report.Failed() {
		return errManifests
	}
	return nil
}

// verbOf finds a key whose group is not known.
func verbOf(verbs map[folder.Key]string, key folder.Key) string {
	for k, verb := range verbs {
		if k.Group = ""; k == key {
			return verb
		}
	}
	return "unchanged"
}
