package ctrd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	apitypes "github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/selinux"
	"github.com/carob-project/carob/pkg/tracing"
)

// Create makes the attempt up to a process that waits for its start; see
// pod.Runtime. The container record comes first: it is the handle by which the
// snapshot and the task are found after a crash, and it keeps the snapshot
// from containerd's garbage collection.
//
// A process that cannot even be made, for a missing executable for one, leaves
// an exited attempt with a StartError, and is no error here: Start tells it.
func (r *Runtime) Create(ctx context.Context, req pod.CreateRequest) (string, error) {
	ctx = r.scoped(ctx)
	if err := r.usable(ctx); err != nil {
		return "", err
	}
	id := ContainerID(req.Pod.UID, req.Container, req.Number)
	unlock, err := r.ids.lock(ctx, id)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, ok := r.state.get(id); ok {
		return id, nil
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	img := &imageInfo{}
	if !req.Holder {
		ictx, found := tracing.Begin(ctx, "resolve image")
		img, err = r.mustImage(ictx, req.ImageName)
		if found(err); err != nil {
			return "", err
		}
	}
	if err := r.checkInit(req); err != nil {
		return "", err
	}
	if err := checkPaths(req); err != nil {
		return "", err
	}
	if err := checkUsers(&req, r.opts.StateDir); err != nil {
		return "", err
	}
	processes := ""
	if req.ProcessesOf != "" {
		ns, err := r.processesOf(ctx, req.ProcessesOf)
		if err != nil {
			return "", err
		}
		defer func() { _ = ns.Close() }()
		processes = pathOf(ns)
	}
	labels, err := r.knownLabels(&req)
	if err != nil {
		return "", err
	}
	sctx, described := tracing.Begin(ctx, "spec")
	record, err := r.record(sctx, id, req, img, processes, labels)
	described(err)
	if err != nil {
		return "", err
	}
	if err := relabel(ctx, &req, labels.files); err != nil {
		return "", err
	}
	// From here on everything is made, or undone, whatever becomes of ctx.
	ctx, cancel := outlive(ctx)
	defer cancel()
	e, err := r.make(ctx, record, req, img, labels.files)
	if err != nil {
		undo, cancel := outlive(ctx)
		defer cancel()
		if failed := r.destroy(undo, bare(id, req.Pod.UID)); failed != nil {
			// The next listing finds it and tries again.
			r.undone.Store(id, struct{}{})
			err = errors.Join(err, failed)
		}
		return "", err
	}
	r.state.put(e)
	return id, nil
}

// checkPaths finds out before anything is made whether what the attempt needs
// on this machine is there: the attempt is not to blame if it is not.
func checkPaths(req pod.CreateRequest) error {
	for _, p := range []string{req.Stdin, req.Stdout, req.Stderr} {
		if p == "" {
			continue
		}
		if info, err := os.Stat(p); err != nil {
			return fmt.Errorf("pipe: %w", err)
		} else if info.Mode().Type() != os.ModeNamedPipe {
			return fmt.Errorf("pipe %s: %w", p, errNoPipe)
		}
	}
	for _, m := range req.Mounts {
		if _, err := os.Stat(m.HostPath); err != nil {
			return fmt.Errorf("mount %s: %w", m.ContainerPath, err)
		}
		if err := checkPropagation(m); err != nil {
			return fmt.Errorf("mount %s: %w", m.ContainerPath, err)
		}
	}
	n := req.Sandbox.Namespaces
	for _, p := range []string{n.Net, n.IPC, n.UTS, n.User, req.Sandbox.ShmPath} {
		if p == "" {
			continue
		}
		if _, err := os.Stat(p); err != nil {
			return fmt.Errorf("sandbox: %w", err)
		}
	}
	return nil
}

var errNoPipe = errors.New("is not a named pipe")

// record is the container as containerd stores it. processes is the path of the
// PID namespace it joins, empty for one of its own.
func (r *Runtime) record(ctx context.Context, id string, req pod.CreateRequest, img *imageInfo, processes string, labels seLabels) (containers.Container, error) {
	cgroup, systemd := cgroupsPath(req.Sandbox.CgroupParent, id)
	if req.OOMScoreAdj < r.host.minOOM {
		r.clampOnce.Do(func() {
			r.log.Warn("oom_score_adj of containers is raised: without CAP_SYS_RESOURCE it cannot be lowered",
				zap.Int("wanted", req.OOMScoreAdj), zap.Int("lowest", r.host.minOOM))
		})
	}
	in := specInput{id: id, req: req, init: r.opts.InitPath, image: img.config, host: r.host, cgroup: cgroup, processes: processes, labels: labels}
	err := pod.CheckNonRoot(&req, img.config.User)
	if req.Holder {
		in.user = specs.User{UID: holderUser, GID: holderUser}
	} else if err == nil {
		in.user, err = r.userFor(ctx, img, &req.Security)
	}
	if err == nil {
		err = req.Sandbox.Users.CheckIDs(in.user.UID, append(in.user.AdditionalGids, in.user.GID)...)
	}
	if err == nil && req.Security.SeccompProfile != "" {
		in.seccomp, err = localProfile(r.opts.SeccompDir, req.Security.SeccompProfile)
	}
	if err == nil && !req.Holder {
		in.appArmor, err = appArmorFor(&req.Security, r.host.appArmor, kernelProfiles(r.opts.Instance), r.log)
	}
	if err != nil {
		return containers.Container{}, err
	}
	spec, err := buildSpec(in)
	if err != nil {
		return containers.Container{}, err
	}
	packed, err := typeurl.MarshalAny(spec)
	if err != nil {
		return containers.Container{}, fmt.Errorf("spec: %w", err)
	}
	info, err := r.runtimeInfo(req.Handler, systemd, req.Sandbox.Users)
	if err != nil {
		return containers.Container{}, err
	}
	c := containers.Container{
		ID:      id,
		Labels:  attemptLabels(r.opts.Instance, r.host.bootID, req, img.Image, in.user, cgroup),
		Runtime: info,
		Spec:    packed,
	}
	if !req.Holder {
		c.Image, c.Snapshotter, c.SnapshotKey = img.Name, img.snapshotter, id
	}
	return c, nil
}

// make carries out the effects of Create in their order.
func (r *Runtime) make(ctx context.Context, c containers.Container, req pod.CreateRequest, img *imageInfo, files selinux.Label) (entry, error) {
	_, made := tracing.Begin(ctx, "container record")
	stored, err := r.containers().Create(ctx, c)
	made(err)
	if err != nil {
		return entry{}, fmt.Errorf("create container: %w", native(err))
	}
	_, prepared := tracing.Begin(ctx, "snapshot")
	mounts, err := r.rootfs(ctx, c, req, img)
	if err == nil {
		mounts, err = labelled(ctx, mounts, files)
	}
	prepared(err)
	if err != nil {
		return entry{}, err
	}
	e, _, _ := observe(stored, nil, r.host.bootID)
	task := &tasks.CreateTaskRequest{
		ContainerID: c.ID, Rootfs: protoMounts(mounts), Terminal: req.TTY,
		Stdin: req.Stdin, Stdout: req.Stdout, Stderr: req.Stderr,
	}
	if req.TTY {
		task.Stderr = "" // a terminal has one output
	}
	tctx, created := tracing.Begin(ctx, "task")
	pid, err := r.createTask(tctx, req.Pod.UID, task)
	created(err)
	if err == nil {
		e.attempt.PID = pid
		return e, nil
	}
	if errors.Is(err, pod.ErrUnavailable) || ctx.Err() != nil {
		return entry{}, fmt.Errorf("create task: %w", err)
	}
	// The words are those in which Kubernetes' users know it.
	return r.failedStart(ctx, e, fmt.Errorf("failed to create containerd task: %w", err))
}

// rootfs makes the root file system of an attempt. That of a holder is empty.
func (r *Runtime) rootfs(ctx context.Context, c containers.Container, req pod.CreateRequest, img *imageInfo) ([]mount.Mount, error) {
	if req.Holder {
		owner := strconv.FormatUint(uint64(req.Sandbox.Users.First), 10)
		return []mount.Mount{{Type: "tmpfs", Source: "tmpfs", Options: []string{
			"size=64k", "mode=0755", "uid=" + owner, "gid=" + owner, "nosuid", "nodev",
		}}}, nil
	}
	mounts, err := r.prepareFor(ctx, img, c.ID, map[string]string{labelInstance: r.opts.Instance}, req.Sandbox.Users)
	if err != nil {
		r.images.forget(img.Name)
		return nil, fmt.Errorf("create snapshot: %w", native(err))
	}
	return mounts, nil
}

const (
	shimEnd   = 3 * time.Second
	shimTries = 3
)

// createTask makes the process. A shim that just lost its last task still
// answers for an instant while it ends; a failure then says nothing about the
// attempt, and it is tried again.
func (r *Runtime) createTask(ctx context.Context, uid types.UID, req *tasks.CreateTaskRequest) (int, error) {
	defer r.shims.share(string(uid))()
	end, other := r.first.lead(string(uid))
	defer end()
	if other != nil {
		_, joined := tracing.Begin(ctx, "await shim")
		r.awaitShim(ctx, string(uid), other)
		joined(nil)
	}
	var last error
	for try := range shimTries {
		_, created := tracing.Begin(ctx, "shim and runc create")
		resp, err := r.client.TaskService().Create(ctx, req)
		created(err)
		if err == nil {
			return int(resp.Pid), nil
		}
		last = native(err)
		ended, _ := r.deleted.Load(string(uid))
		at, ok := ended.(time.Time)
		if !ok || time.Since(at) > shimEnd || errors.Is(last, pod.ErrUnavailable) {
			break
		}
		if task, err := r.task(ctx, req.ContainerID); err != nil || task != nil {
			break
		}
		timer := time.NewTimer(time.Duration(try+1) * 50 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0, ctx.Err()
		}
	}
	return 0, last
}

// failedStart turns an attempt whose process cannot be made into an exited one.
func (r *Runtime) failedStart(ctx context.Context, e entry, cause error) (entry, error) {
	if err := r.stopTask(ctx, e); err != nil {
		return entry{}, errors.Join(cause, err)
	}
	e.gone = true
	r.state.put(e)
	x := exitRecord{Code: codeStartError, FinishedAt: now(), StartError: cause.Error()}
	if err := r.recordExit(ctx, e, x); err != nil {
		r.state.remove(e.attempt.ID)
		return entry{}, errors.Join(cause, err)
	}
	exited(x)(&e)
	return e, nil
}

func protoMounts(mounts []mount.Mount) []*apitypes.Mount {
	all := make([]*apitypes.Mount, 0, len(mounts))
	for _, m := range mounts {
		all = append(all, &apitypes.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	return all
}
