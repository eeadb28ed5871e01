package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/config"
)

const longHelp = `carob runs pods: Kubernetes manifests in, groups of containers out, straight
on containerd, each group sharing one network namespace.

 Start here:
  carob check               what this machine has and lacks
  carob up                  run carob in the foreground
  carob image import FILE   bring an image without a registry
  carob apply -f FILE       run what the manifest says
  carob trace POD           where the time of its start went
  carob down                end carob and its pods
  carob reset --yes         and remove all of its data

 All of kubectl's verbs are built in and find carob's kubeconfig by themselves.`

// app is what the commands share: the streams and the flags that find the
// instance.
type app struct {
	genericiooptions.IOStreams
	flags *config.Flags
}

// load merges defaults, config file and the flags given to cmd.
func (a *app) load(cmd *cobra.Command) (config.Config, error) {
	return a.flags.Load(func(name string) bool {
		f := cmd.Flags().Lookup(name)
		return f != nil && f.Changed
	})
}

// newCommand builds the whole command tree: kubectl's, with carob's own
// commands beside it.
func newCommand() *cobra.Command {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	clientFlags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().
		WithDiscoveryBurst(300).WithDiscoveryQPS(50).WithWarningPrinter(streams)
	root := kubectl.NewKubectlCommand(kubectl.KubectlOptions{
		IOStreams: streams, Arguments: os.Args, ConfigFlags: clientFlags,
	})
	root.Use, root.Short, root.Long = "carob", "carob runs pods on containerd", longHelp
	a := &app{IOStreams: streams, flags: config.AddInstanceFlags(root.PersistentFlags())}
	for _, c := range root.Commands() {
		if c.Name() == "version" || c.Name() == "plugin" {
			root.RemoveCommand(c)
		}
	}
	speakOfCarob(root)
	root.AddCommand(a.upCommand(), a.downCommand(), a.resetCommand(), a.checkCommand(), a.imageCommand(), a.versionCommand(clientFlags), a.manifestsCommand(clientFlags), a.traceCommand(clientFlags))
	a.addFolderPrune(root, clientFlags)
	a.addRolloutDiff(root, clientFlags)
	a.findKubeconfig(root, clientFlags)
	return root
}

// findKubeconfig lets the verbs use the instance's admin kubeconfig where the
// user named none. Somebody who cannot read it (it is root's) is left with
// kubectl's own rules.
func (a *app) findKubeconfig(root *cobra.Command, flags *genericclioptions.ConfigFlags) {
	before := root.PersistentPreRunE
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		if f := cmd.Flags().Lookup("kubeconfig"); f == nil || !f.Changed {
			c, err := a.load(cmd)
			if err != nil {
				return err
			}
			if f, err := os.Open(c.KubeconfigPath()); err == nil {
				_ = f.Close()
				flags.KubeConfig = set(flags.KubeConfig, c.KubeconfigPath())
			}
		}
		return before(cmd, args)
	}
}

// set assigns through p where it points somewhere: the client reads the
// variable that the flag is bound to.
func set(p *string, s string) *string {
	if p == nil {
		return ptr.To(s)
	}
	*p = s
	return p
}

// speakOfCarob makes the examples show commands that exist here.
func speakOfCarob(cmd *cobra.Command) {
	cmd.Example = strings.ReplaceAll(cmd.Example, "kubectl ", "carob ")
	cmd.Long = strings.ReplaceAll(cmd.Long, "kubectl ", "carob ")
	for _, c := range cmd.Commands() {
		speakOfCarob(c)
	}
}
