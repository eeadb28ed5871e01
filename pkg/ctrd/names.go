package ctrd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/runtime-spec/specs-go"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// Labels of containers, snapshots, leases and images in containerd.
const (
	labelPrefix    = "carob.dev/"
	labelInstance  = labelPrefix + "instance"
	labelUID       = labelPrefix + "pod-uid"
	labelNamespace = labelPrefix + "pod-namespace"
	labelName      = labelPrefix + "pod-name"
	labelContainer = labelPrefix + "container"
	labelInit      = labelPrefix + "init"
	labelAttempt   = labelPrefix + "attempt"
	labelStreak    = labelPrefix + "streak"
	labelSpecHash  = labelPrefix + "spec-hash"
	labelResources = labelPrefix + "resources"
	labelUser      = labelPrefix + "user"
	labelImage     = labelPrefix + "image"
	labelImageID   = labelPrefix + "image-id"
	labelCgroup    = labelPrefix + "cgroup"
	labelStdout    = labelPrefix + "stdout"
	labelStderr    = labelPrefix + "stderr"
	labelBoot      = labelPrefix + "boot"
	labelStartedAt = labelPrefix + "started-at"
	labelExit      = labelPrefix + "exit"
	labelImported  = labelPrefix + "imported"
)

// groupAnnotation makes containerd's runc shim serve all containers that carry
// the same value in one process.
const groupAnnotation = "io.containerd.runc.v2.group"

// maxIDLength is containerd's limit for identifiers.
const maxIDLength = 76

var idForm = regexp.MustCompile(`^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$`)

// ContainerID is the name of an attempt in containerd. The same attempt always
// has the same name, so that making it twice makes one. Names that containerd
// would refuse (too long, two dashes in a row) are replaced by their hash, the
// pod's UID staying in front where it fits.
func ContainerID(uid types.UID, container string, number int) string {
	plain := fmt.Sprintf("%s-%s-%d", uid, container, number)
	if validID(plain) {
		return plain
	}
	sum := sha256.Sum256([]byte(container))
	hashed := fmt.Sprintf("%s-x%s-%d", uid, hex.EncodeToString(sum[:8]), number)
	if validID(hashed) {
		return hashed
	}
	sum = sha256.Sum256([]byte(plain))
	return "x" + hex.EncodeToString(sum[:20])
}

func validID(s string) bool { return len(s) <= maxIDLength && idForm.MatchString(s) }

// attemptLabels are the labels a container record is born with.
func attemptLabels(instance, boot string, r pod.CreateRequest, img pod.Image, user specs.User, cgroup string) map[string]string {
	l := map[string]string{
		labelInstance:  instance,
		labelBoot:      boot,
		labelUID:       string(r.Pod.UID),
		labelNamespace: r.Pod.Namespace,
		labelName:      r.Pod.Name,
		labelContainer: r.Container,
		labelInit:      strconv.FormatBool(r.Init),
		labelAttempt:   strconv.Itoa(r.Number),
		labelStreak:    strconv.Itoa(r.Streak),
		labelSpecHash:  r.SpecHash,
		labelResources: r.Applied,
		labelImage:     r.ImageName,
		labelImageID:   img.ID,
		labelUser:      userLabel(user),
		labelCgroup:    cgroup,
		labelStdout:    r.Stdout,
		labelStderr:    r.Stderr,
	}
	for k, v := range l {
		if v == "" {
			delete(l, k)
		}
	}
	return l
}

// attemptFromLabels reads back what attemptLabels wrote. ok is false where the
// labels name no attempt.
func attemptFromLabels(id string, l map[string]string) (a pod.Attempt, ok bool) {
	number, err := strconv.Atoi(l[labelAttempt])
	if err != nil || number < 0 || l[labelUID] == "" || l[labelContainer] == "" {
		return pod.Attempt{}, false
	}
	// A streak that cannot be read restarts the back-off, which is harmless.
	streak, _ := strconv.Atoi(l[labelStreak])
	return pod.Attempt{
		Pod:       pod.Ref{UID: types.UID(l[labelUID]), Namespace: l[labelNamespace], Name: l[labelName]},
		Container: l[labelContainer],
		Init:      l[labelInit] == "true",
		Number:    number,
		Streak:    max(streak, 0),
		ID:        id,
		SpecHash:  l[labelSpecHash],
		Applied:   l[labelResources],
		ImageName: l[labelImage],
		ImageID:   l[labelImageID],
		User:      userFromLabel(l[labelUser]),
	}, true
}

// userLabel writes the IDs of a user, the main group and the others behind it.
func userLabel(u specs.User) string {
	ids := []string{fmt.Sprint(u.UID), fmt.Sprint(u.GID)}
	for _, g := range u.AdditionalGids {
		ids = append(ids, fmt.Sprint(g))
	}
	return strings.Join(ids, ":")
}

// userFromLabel reads back what userLabel wrote; nil where it is not that.
func userFromLabel(label string) *pod.User {
	var ids []int64
	for part := range strings.SplitSeq(label, ":") {
		id, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return nil
		}
		ids = append(ids, int64(id))
	}
	if len(ids) < 2 {
		return nil
	}
	return &pod.User{UID: ids[0], GID: ids[1], Groups: ids[2:]}
}

// normalize brings a reference into containerd's form: with registry, with
// `library/` where Docker means it, and with a tag or a digest.
func normalize(ref string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, &pod.ImageNameError{Ref: ref, Err: err}
	}
	return named, nil
}
