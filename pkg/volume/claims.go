package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/ephemeral"

	"github.com/carob-project/carob/pkg/claim"
)

// claimError is a claim that cannot be used, in the words of Kubernetes' node.
type claimError struct {
	volume, key string
	err         error
}

func (e *claimError) Error() string {
	return fmt.Sprintf("Unable to attach or mount volumes: unmounted volumes=[%s], unattached volumes=[], failed to process volumes=[%s]: error processing PVC %s: %v",
		e.volume, e.volume, e.key, e.err)
}
func (e *claimError) Unwrap() error { return e.err }

var (
	errClaimDeleted  = errors.New("PVC is being deleted")
	errClaimNotBound = errors.New("PVC is not bound")
)

// prepareClaim finds the volume behind a claim and makes a link to it in the
// pod's directory, so that mounts are made of what was found, also when the API
// cannot be asked. What the link leads to is not the pod's to remove.
func (m *Manager) prepareClaim(ctx context.Context, p *corev1.Pod, v *corev1.Volume, l layout) error {
	source, err := m.claimed(ctx, p, v)
	if err != nil {
		if isClaimFault(err) {
			return err
		}
		return &claimError{v.Name, p.Namespace + "/" + claim.Of(p, v), err}
	}
	var target string
	switch {
	case source.Spec.HostPath != nil:
		if target = source.Spec.HostPath.Path; !filepath.IsAbs(target) {
			return &setupError{source.Name, invalid("path %q is not absolute", target)}
		}
		if err := prepareHostPath(source.Spec.HostPath); err != nil {
			return &setupError{source.Name, err}
		}
		if or(source.Spec.HostPath.Type, "") == "" {
			if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
				if err := makeHostDir(target); err != nil {
					return &setupError{source.Name, err}
				}
			}
		}
	case source.Spec.Local != nil:
		target = source.Spec.Local.Path
		if err := m.prepareLocal(p, source); err != nil {
			return err
		}
	default:
		return &setupError{source.Name, unsupported("the source of persistent volume " + source.Name)}
	}
	return link(target, l.volume(v.Name))
}

func isClaimFault(err error) bool {
	var setup *setupError
	var fault *claimFault
	return errors.As(err, &setup) || errors.As(err, &fault)
}

// claimed returns the volume that a claim is bound to, if the pod may use it.
func (m *Manager) claimed(ctx context.Context, p *corev1.Pod, v *corev1.Volume) (*corev1.PersistentVolume, error) {
	c, err := m.opts.Objects.Claim(ctx, p.Namespace, claim.Of(p, v))
	if err != nil {
		return nil, fmt.Errorf("failed to fetch PVC from API server: %w", err)
	}
	if v.Ephemeral != nil {
		if err := ephemeral.VolumeIsForPod(p, c); err != nil {
			return nil, err
		}
	}
	switch {
	case c.DeletionTimestamp != nil && !started(p):
		return nil, errClaimDeleted
	case c.Status.Phase != corev1.ClaimBound || c.Spec.VolumeName == "":
		return nil, errClaimNotBound
	}
	volume, err := m.opts.Objects.Volume(ctx, c.Spec.VolumeName)
	if err != nil {
		return nil, fmt.Errorf("failed to fetch PV %s from API server: %w", c.Spec.VolumeName, err)
	}
	if ref := volume.Spec.ClaimRef; ref == nil || ref.UID != c.UID {
		return nil, fmt.Errorf("PV %s object has incorrect claim reference", volume.Name) //nolint:err113 // told to people
	}
	return volume, nil
}

// started reports whether a container of the pod has run: its claim is only
// deleted once the pod has gone.
func started(p *corev1.Pod) bool { return p.Status.StartTime != nil }

// prepareLocal makes a directory ready that is a volume: carob makes its own
// ones, those of others have to be there. They are their owner's, but for the
// group that the pod wants.
func (m *Manager) prepareLocal(p *corev1.Pod, v *corev1.PersistentVolume) error {
	dir := v.Spec.Local.Path
	if claim.Made(v) && m.opts.MakeLocal != nil {
		if err := m.opts.MakeLocal(v); err != nil {
			return &setupError{v.Name, written(err)}
		}
	}
	if _, err := os.Stat(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return &claimFault{fmt.Sprintf("MountVolume.NewMounter initialization failed for volume %q : path %q does not exist", v.Name, dir)}
		}
		return &setupError{v.Name, err}
	}
	if group := groupOf(p); group != noGroup {
		if err := own(dir, group, p); err != nil {
			return &setupError{v.Name, fmt.Errorf("applyFSGroup failed for vol %s: %w", v.Name, err)}
		}
	}
	return nil
}

// claimFault is told as it stands.
type claimFault struct{ text string }

func (e *claimFault) Error() string { return e.text }

// own gives all of a volume to a group, that of the pod, and lets the group
// write and what is made later inherit it. Links are left alone. With
// OnRootMismatch, a volume whose root is so already is not read.
func own(dir string, group int, p *corev1.Pod) error {
	if policy := p.Spec.SecurityContext.FSGroupChangePolicy; policy != nil && *policy == corev1.FSGroupChangeOnRootMismatch {
		st, err := os.Stat(dir)
		if err != nil {
			return err
		}
		sys, ok := st.Sys().(*syscall.Stat_t)
		if ok && int(sys.Gid) == group && st.Mode()&fs.ModeSetgid != 0 && st.Mode()&0o070 == 0o070 {
			return nil
		}
	}
	// Nothing that a container changes meanwhile leads out of the volume.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := root.Lchown(path, -1, group); err != nil {
			return ignoreMissing(err)
		}
		info, err := d.Info()
		if err != nil || info.Mode()&fs.ModeSymlink != 0 {
			return ignoreMissing(err)
		}
		mode := info.Mode() | 0o060
		if d.IsDir() {
			mode |= fs.ModeSetgid | 0o010
		}
		if mode == info.Mode() {
			return nil
		}
		return ignoreMissing(root.Chmod(path, mode))
	})
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// link makes or replaces a link at once.
func link(target, at string) error {
	if now, err := os.Readlink(at); err == nil && now == target {
		return nil
	}
	tmp := filepath.Join(filepath.Dir(at), ".new-"+filepath.Base(at))
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, tmp); err != nil {
		return written(err)
	}
	return os.Rename(tmp, at)
}

// claimPath is where the volume of a claim is, as it was prepared.
func claimPath(name string, l layout) (string, error) {
	target, err := os.Readlink(l.volume(name))
	if err != nil {
		return "", fmt.Errorf("the volume %q is not prepared: %w", name, err)
	}
	if !strings.HasPrefix(target, "/") {
		return "", invalid("the volume %q leads to %q", name, target)
	}
	return target, nil
}
