package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/carob-project/carob/pkg/config"
	"github.com/carob-project/carob/pkg/ctrd"
	"github.com/carob-project/carob/pkg/logging"
	"github.com/carob-project/carob/pkg/pod"
)

func (a *app) imageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "Import, pull, list and remove the images of this machine"}
	cmd.AddCommand(
		&cobra.Command{
			Use: "import FILE...", Short: "Import images from docker or OCI archives; - reads standard input",
			Args: cobra.MinimumNArgs(1), RunE: a.withRuntime(a.importImages),
		},
		&cobra.Command{
			Use: "pull IMAGE...", Short: "Pull images from their registries",
			Args: cobra.MinimumNArgs(1), RunE: a.withRuntime(a.pullImages),
		},
		&cobra.Command{
			Use: "list", Aliases: []string{"ls"}, Short: "List the images",
			Args: cobra.NoArgs, RunE: a.withRuntime(a.listImages),
		},
		&cobra.Command{
			Use: "remove IMAGE...", Aliases: []string{"rm"}, Short: "Remove images that no container uses",
			Args: cobra.MinimumNArgs(1), RunE: a.withRuntime(a.removeImages),
		},
	)
	return cmd
}

// withRuntime connects to the instance's containerd for one command.
func (a *app) withRuntime(do func(context.Context, *ctrd.Runtime, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
		defer stop()
		c, err := a.load(cmd)
		if err != nil {
			return err
		}
		if c, err = saved(c); err != nil {
			return err
		}
		logging.RouteKlog(zap.NewNop())
		r, err := connectRunning(ctx, c, zap.NewNop())
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		return do(ctx, r, args)
	}
}

// saved returns the settings that the instance was last started with. A data
// directory that cannot be read is root's.
func saved(c config.Config) (config.Config, error) {
	s, err := c.Saved()
	if errors.Is(err, os.ErrPermission) {
		return c, fmt.Errorf("%w: run this as root", err)
	}
	return s, err
}

// progress returns a function that shows a text on one line of a terminal, and
// a function that ends that line. Without a terminal it shows nothing.
func (a *app) progress(what string) (show func(string), done func()) {
	f, ok := a.ErrOut.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	return func(s string) { fmt.Fprintf(a.ErrOut, "\r\033[K%s: %s", what, s) },
		func() { fmt.Fprint(a.ErrOut, "\r\033[K") }
}

func (a *app) importImages(ctx context.Context, r *ctrd.Runtime, files []string) error {
	for _, name := range files {
		if err := a.importImage(ctx, r, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (a *app) importImage(ctx context.Context, r *ctrd.Runtime, name string) error {
	in := a.In
	if name != "-" {
		f, err := os.Open(name) //nolint:gosec // the user names the file
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	show, done := a.progress(name)
	images, err := r.Import(ctx, in, show)
	done()
	if err != nil {
		return err
	}
	for _, i := range images {
		fmt.Fprintf(a.Out, "imported %s\n", i.Name)
	}
	return nil
}

func (a *app) pullImages(ctx context.Context, r *ctrd.Runtime, refs []string) error {
	for _, ref := range refs {
		show, done := a.progress(ref)
		i, err := r.Pull(ctx, ref, pod.PullOptions{Progress: show})
		done()
		if err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
		fmt.Fprintf(a.Out, "pulled %s %s\n", i.Name, i.ID)
	}
	return nil
}

func (a *app) listImages(ctx context.Context, r *ctrd.Runtime, _ []string) error {
	images, err := r.ListImages(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NAME\tID\tSIZE")
	for _, i := range images {
		fmt.Fprintf(w, "%s\t%s\t%.1f MiB\n", i.Name, i.ID, float64(i.Size)/(1<<20))
	}
	return w.Flush()
}

func (a *app) removeImages(ctx context.Context, r *ctrd.Runtime, refs []string) error {
	var errs []error
	for _, ref := range refs {
		switch err := r.RemoveImage(ctx, ref); {
		case errors.Is(err, pod.ErrNotFound):
			errs = append(errs, fmt.Errorf("%s: no such image", ref))
		case err != nil:
			errs = append(errs, err)
		default:
			fmt.Fprintf(a.Out, "removed %s\n", ref)
		}
	}
	return errors.Join(errs...)
}
