package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// state says how far the making or the removal of a sandbox has come.
type state string

const (
	stateMaking   state = "making"
	stateWhole    state = "whole"
	stateRemoving state = "removing"
)

// network says whether something may be attached.
type network string

const (
	networkNone network = ""
	// networkAttaching: an attach or detach has begun; anything may be there.
	networkAttaching network = "attaching"
	networkAttached  network = "attached"
)

// record is sandbox.json.
type record struct {
	UID       types.UID `json:"uid"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	BootID    string    `json:"bootID"`
	CreatedAt time.Time `json:"createdAt"`
	State     state     `json:"state"`
	Hostname  string    `json:"hostname"`
	// Cgroup is the name of the pod's group below the instance's root.
	Cgroup string `json:"cgroup"`
	// Pins are the identities of the namespaces by their files' names, once
	// they are made.
	Pins    map[string]string `json:"pins,omitempty"`
	Network network           `json:"network,omitempty"`
	IPs     []string          `json:"ips,omitempty"`
	// HostNetwork and HostIPC: those namespaces are the node's, and with the
	// network its hostname.
	HostNetwork bool `json:"hostNetwork,omitempty"`
	HostIPC     bool `json:"hostIPC,omitempty"`
	// Users are the IDs of the pod's user namespace. They are its own for as
	// long as there is this record.
	Users pod.IDRange `json:"users,omitzero"`
	// Level is the pod's SELinux level. Its categories, where the pod names
	// none, are its own for as long as there is this record.
	Level string `json:"level,omitempty"`
}

// namespaces are the files of the pinned namespaces.
func (r *record) namespaces() []string {
	var files []string
	if !r.HostNetwork {
		files = append(files, netFile, utsFile)
	}
	if !r.HostIPC {
		files = append(files, ipcFile)
	}
	if r.Users.Mapped() {
		files = append(files, userFile)
	}
	return files
}

// cloneFlags are the namespaces to make, but for that of the users.
func (r *record) cloneFlags() int {
	flags := 0
	if !r.HostNetwork {
		flags |= unix.CLONE_NEWNET | unix.CLONE_NEWUTS
	}
	if !r.HostIPC {
		flags |= unix.CLONE_NEWIPC
	}
	return flags
}

const recordFile = "sandbox.json"

// errBroken: the directory has no record that can be used. Anything may be in
// it.
var errBroken = errors.New("broken sandbox record")

var validUID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$`)

// decodeRecord decodes a record and checks what others rely on.
func decodeRecord(data []byte) (*record, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	switch {
	case !validUID.MatchString(string(r.UID)):
		return nil, fmt.Errorf("invalid UID %q", r.UID)
	case r.State != stateMaking && r.State != stateWhole && r.State != stateRemoving:
		return nil, fmt.Errorf("unknown state %q", r.State)
	case r.Network != networkNone && r.Network != networkAttaching && r.Network != networkAttached:
		return nil, fmt.Errorf("unknown network state %q", r.Network)
	case r.BootID == "":
		return nil, errors.New("no boot ID")
	}
	return &r, nil
}

// read returns the record of a pod: nil where it has no directory, an error
// that wraps errBroken where the directory has no good one.
func (m *Manager) read(uid types.UID) (*record, error) {
	data, err := os.ReadFile(filepath.Join(m.dir(uid), recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(m.dir(uid)); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("%w: %s: no record", errBroken, m.dir(uid))
	}
	if err != nil {
		return nil, fmt.Errorf("read sandbox record: %w", err)
	}
	r, err := decodeRecord(data)
	if err == nil && r.UID != uid {
		err = fmt.Errorf("record of %s", r.UID)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errBroken, m.dir(uid), err)
	}
	return r, nil
}

// write replaces the record as a whole.
func (m *Manager) write(r *record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode sandbox record: %w", err)
	}
	file := filepath.Join(m.dir(r.UID), recordFile)
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("write sandbox record: %w", err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return fmt.Errorf("write sandbox record: %w", err)
	}
	return nil
}
