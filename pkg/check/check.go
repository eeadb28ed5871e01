// Package check tells what a machine has and lacks for running carob. Gather
// looks, Judge decides purely; neither changes anything on the machine. The
// package must not know containerd's client: what a socket answers is handed
// in.
package check

import (
	"fmt"
	"strings"
)

// Level is how bad a finding is.
type Level string

// The levels. carob can't run where one finding is Fail.
const (
	OK Level = "ok"
	// Note is something carob runs without and pods may ask for.
	Note Level = "note"
	Warn Level = "warn"
	Fail Level = "FAIL"
)

// Finding is one line of the report.
type Finding struct {
	What   string
	Level  Level
	Detail string
	// Remedy says what to do; it is empty where Level is OK.
	Remedy string
}

// Facts is what Gather saw.
type Facts struct {
	UID int
	// Kernel is its release, such as 6.1.0-18-amd64.
	Kernel string
	// Features are kernel features by name and whether they are there.
	Features []Feature
	// CgroupVersion is 1, 2 or 0 (none mounted).
	CgroupVersion int
	// CgroupMissing are the controllers carob needs and the kernel lacks.
	CgroupMissing []string
	CgroupDriver  string
	// SystemContainerd is the version of the containerd behind Address, or
	// empty with ContainerdError saying why.
	Address          string
	AddressGiven     bool
	SystemContainerd string
	ContainerdError  string
	// ContainerdBinary, Shim and Runc are `--version` lines of what PATH
	// has, or empty.
	ContainerdBinary, Shim, Runc string
	// InitMissing is why carob-init cannot be used, or empty.
	InitMissing string
	// Plugins are the CNI plugins carob's own network needs and their
	// directory, empty where not found.
	Plugins []Plugin
	BinDirs []string
	// CNIConfig is the user's configuration file, empty where there is
	// none; CNIError is why it cannot be used.
	CNIConfig, CNIError string
	// Listen is the API's address; ListenError why it cannot be taken.
	Listen, ListenError string
	// Running is the process ID of the carob that serves this instance.
	Running int
	// Dirs are the data and run directory.
	Dirs []Dir
	// OwnCaps tells whether raised limits can be set.
	SysResource bool
	IPForward   bool
	// Users tells whether pods can have users of their own.
	Users Users
}

// Feature is something the kernel offers or not.
type Feature struct {
	Name    string
	Present bool
	Remedy  string
}

// Plugin is a CNI plugin and the directory it was found in.
type Plugin struct{ Name, Dir string }

// Dir is a directory that carob writes to.
type Dir struct {
	Path  string
	Error string
	// FreeBytes of its file system.
	FreeBytes uint64
	// Run is set for the run directory: records and sockets only, on a file
	// system that is small by nature.
	Run bool
}

const (
	lowDisk = 1 << 30
	lowRun  = 32 << 20
)

// low says whether pods may soon fail for want of space.
func (d Dir) low() bool {
	if d.Run {
		return d.FreeBytes < lowRun
	}
	return d.FreeBytes < lowDisk
}

// Judge returns the findings, in a fixed order. It is pure.
func Judge(f Facts) []Finding {
	var r []Finding
	add := func(what string, bad Level, isBad bool, detail, remedy string) {
		if !isBad {
			bad, remedy = OK, ""
		}
		r = append(r, Finding{What: what, Level: bad, Detail: detail, Remedy: remedy})
	}
	add("root", Fail, f.UID != 0, fmt.Sprintf("uid %d", f.UID), "run carob as root, e.g. with sudo")
	add("kernel", OK, false, f.Kernel, "")
	for _, k := range f.Features {
		add("kernel: "+k.Name, Fail, !k.Present, presence(k.Present), k.Remedy)
	}
	r = append(r, cgroups(f), limits(f), users(f))
	r = append(r, containerd(f), tool("containerd shim", f.Shim, "apt-get install containerd"), tool("runc", f.Runc, "apt-get install runc"))
	add("carob-init", Warn, f.InitMissing != "", initDetail(f),
		"put it beside carob (`make build` makes both): without it pods with shareProcessNamespace or carob.dev/init do not start")
	r = append(r, network(f)...)
	add("address "+f.Listen, Fail, f.ListenError != "" && f.Running == 0, listenDetail(f), "end what listens there (ss -ltnp), or choose another address with --listen")
	for _, d := range f.Dirs {
		switch {
		case d.Error != "":
			add("directory "+d.Path, Fail, true, d.Error, "make it writable for root, or choose another with --data-dir or --run-dir")
		default:
			add("directory "+d.Path, Warn, d.low(), fmt.Sprintf("%d MiB free", d.FreeBytes>>20), "free some space: pods fail when the disk is full")
		}
	}
	return r
}

// Failed says whether carob can't run.
func Failed(findings []Finding) bool {
	for _, f := range findings {
		if f.Level == Fail {
			return true
		}
	}
	return false
}

func initDetail(f Facts) string {
	if f.InitMissing != "" {
		return f.InitMissing
	}
	return "present"
}

func presence(p bool) string {
	if p {
		return "present"
	}
	return "missing"
}

func listenDetail(f Facts) string {
	switch {
	case f.Running != 0:
		return fmt.Sprintf("served by the running carob, pid %d", f.Running)
	case f.ListenError != "":
		return f.ListenError
	}
	return "free"
}

func cgroups(f Facts) Finding {
	switch {
	case f.CgroupVersion == 0:
		return Finding{"cgroups", Fail, "no cgroup file system at /sys/fs/cgroup", "mount one: mount -t cgroup2 none /sys/fs/cgroup"}
	case len(f.CgroupMissing) > 0:
		return Finding{"cgroups", Fail, fmt.Sprintf("v%d without %s", f.CgroupVersion, strings.Join(f.CgroupMissing, ", ")),
			"enable these controllers (kernel command line, or cgroup.subtree_control)"}
	}
	return Finding{What: "cgroups", Level: OK, Detail: fmt.Sprintf("v%d, driver %s", f.CgroupVersion, f.CgroupDriver)}
}

func limits(f Facts) Finding {
	if f.SysResource {
		return Finding{What: "CAP_SYS_RESOURCE", Level: OK, Detail: "held"}
	}
	return Finding{"CAP_SYS_RESOURCE", Warn, "not held: oom_score_adj of containers cannot go below carob's own", "give carob the capability, or live with it"}
}

func containerd(f Facts) Finding {
	const what = "containerd"
	switch {
	case f.SystemContainerd != "":
		return Finding{What: what, Level: OK, Detail: f.SystemContainerd + " at " + f.Address}
	case f.AddressGiven:
		return Finding{what, Fail, f.Address + ": " + f.ContainerdError, "start it, or leave --containerd-address away and carob starts a private one"}
	case f.ContainerdBinary != "":
		return Finding{What: what, Level: OK, Detail: "none running; carob starts a private one: " + f.ContainerdBinary}
	}
	return Finding{what, Fail, "none running and none on PATH", "apt-get install containerd"}
}

func tool(what, version, remedy string) Finding {
	if version == "" {
		return Finding{what, Fail, "not on PATH", remedy}
	}
	return Finding{What: what, Level: OK, Detail: version}
}

func network(f Facts) []Finding {
	var r []Finding
	var missing, have []string
	for _, p := range f.Plugins {
		if p.Dir == "" {
			missing = append(missing, p.Name)
		} else {
			have = append(have, p.Name+" in "+p.Dir)
		}
	}
	if len(missing) > 0 {
		r = append(r, Finding{"CNI plugins", Fail, strings.Join(missing, ", ") + " not in " + strings.Join(f.BinDirs, ", "),
			"apt-get install containernetworking-plugins, or name their directory with --cni-bin-dir"})
	} else {
		r = append(r, Finding{What: "CNI plugins", Level: OK, Detail: strings.Join(have, ", ")})
	}
	switch {
	case f.CNIError != "":
		r = append(r, Finding{"CNI configuration", Fail, f.CNIError, "correct or remove the file; without one carob uses its own bridge network"})
	case f.CNIConfig != "":
		r = append(r, Finding{What: "CNI configuration", Level: OK, Detail: f.CNIConfig})
	default:
		r = append(r, Finding{What: "CNI configuration", Level: OK, Detail: "none; carob uses its own bridge network"})
	}
	fwd := "on"
	if !f.IPForward {
		fwd = "off; carob turns it on while it runs"
	}
	return append(r, Finding{What: "IPv4 forwarding", Level: OK, Detail: fwd})
}
