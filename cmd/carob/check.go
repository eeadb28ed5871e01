package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/carob-project/carob/pkg/cgroup"
	"github.com/carob-project/carob/pkg/check"
	"github.com/carob-project/carob/pkg/cni"
	"github.com/carob-project/carob/pkg/config"
	"github.com/carob-project/carob/pkg/ctrd"
	"github.com/carob-project/carob/pkg/logging"
)

var errCheck = errors.New("carob can't run here: the lines marked FAIL say what to do")

func (a *app) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Tell what this machine has and lacks; exit 1 if carob can't run",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(cmd)
			if err != nil {
				return err
			}
			logging.RouteKlog(zap.NewNop())
			findings := check.Judge(check.Gather(context.Background(), where(c)))
			if err := printFindings(a.Out, findings); err != nil {
				return err
			}
			if check.Failed(findings) {
				return errCheck
			}
			return nil
		},
	}
	a.flags.AddUpFlags(cmd.Flags())
	return cmd
}

func where(c config.Config) check.Where {
	address := c.ContainerdAddress
	if address == "" {
		address = config.DefaultContainerdAddress
	}
	driver := "none"
	if info, err := cgroup.Detect(); err == nil {
		driver = string(info.Driver)
	}
	return check.Where{
		DataDir: c.DataDir, RunDir: c.RunDir, Listen: c.Listen, BinDirs: c.CNIBinDirs(), Running: running(c),
		Address: address, AddressGiven: c.ContainerdAddress != "", ContainerdVersion: containerdVersion,
		CgroupDriver: driver, InitPath: initPath(),
		Users: func(ctx context.Context) check.Users { return ownUsers(ctx, c, address) },
		LoadCNI: func() (string, error) {
			n, err := cni.New(networkOptions(c, nil))
			if err != nil {
				return "", err
			}
			return n.Describe()
		},
	}
}

// ownUsers finds out what keeps pods from having users of their own.
func ownUsers(ctx context.Context, c config.Config, address string) (u check.Users) {
	why := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	if u.Kernel = why(ctrd.KernelMapsIDs()); u.Kernel != "" {
		return u // nothing else can be tried
	}
	images, _, own := c.PrivateContainerd()
	if root, err := imageRoot(ctx, address); err == nil {
		images = root
	} else {
		address = own
	}
	u.Runtime = why(ctrd.RuntimeMapsIDs(ctx, address))
	u.Data, u.Images = why(ctrd.DirMapsIDs(c.DataDir)), why(ctrd.DirMapsIDs(images))
	return u
}

func printFindings(out io.Writer, findings []check.Finding) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Level, f.What, f.Detail)
		if f.Remedy != "" {
			fmt.Fprintf(w, "\t\t-> %s\n", f.Remedy)
		}
	}
	return w.Flush()
}
