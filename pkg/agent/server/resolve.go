package server

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// requestError is an error that the caller made or has to wait out; it is
// answered with 400, as Kubernetes' nodes do.
type requestError string

func (e requestError) Error() string { return string(e) }

func badf(format string, args ...any) error { return requestError(fmt.Sprintf(format, args...)) }

// resolve returns the number of the attempt whose log is asked for. container
// may be empty where the pod has only one.
func resolve(p *corev1.Pod, attempts []pod.Attempt, container string, previous bool) (name string, number int, err error) {
	name, err = containerName(p, container)
	if err != nil {
		return "", 0, err
	}
	mine := slices.DeleteFunc(slices.Clone(attempts), func(a pod.Attempt) bool { return a.Container != name })
	slices.SortFunc(mine, func(a, b pod.Attempt) int { return cmp.Compare(b.Number, a.Number) })
	state := stateOf(p, name)
	// While a container waits to be restarted its newest attempt counts as
	// the previous one.
	if previous && len(mine) > 0 && (state.Waiting == nil || mine[0].State != pod.AttemptExited) {
		mine = mine[1:]
	}
	switch {
	case len(mine) > 0 && (previous || begun(mine[0])):
		return name, mine[0].Number, nil
	case previous:
		return "", 0, badf("previous terminated container %q in pod %q not found", name, p.Name)
	case len(mine) > 1:
		return name, mine[1].Number, nil // the newest one is still being made
	default:
		return "", 0, badf("container %q in pod %q is waiting to start: %s", name, p.Name, waitingFor(state))
	}
}

func begun(a pod.Attempt) bool { return a.State != pod.AttemptCreated }

func containerName(p *corev1.Pod, container string) (string, error) {
	var names []string
	for _, c := range p.Spec.InitContainers {
		if c.Name == container {
			return container, nil
		}
	}
	for _, c := range p.Spec.EphemeralContainers {
		if c.Name == container {
			return container, nil
		}
	}
	for _, c := range p.Spec.Containers {
		names = append(names, c.Name)
	}
	switch {
	case container == "" && len(names) == 1:
		return names[0], nil
	case container == "":
		return "", badf("a container name must be specified for pod %s, choose one of: [%s]", p.Name, strings.Join(names, " "))
	case slices.Contains(names, container):
		return container, nil
	default:
		return "", badf("container %s is not valid for pod %s", container, p.Name)
	}
}

func stateOf(p *corev1.Pod, name string) corev1.ContainerState {
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses) {
		if s.Name == name {
			return s.State
		}
	}
	return corev1.ContainerState{}
}

func waitingFor(s corev1.ContainerState) string {
	if s.Waiting == nil {
		return pod.ReasonContainerCreating
	}
	switch s.Waiting.Reason {
	case "":
		return pod.ReasonContainerCreating
	case pod.ReasonErrImagePull:
		return "trying and failing to pull image"
	case pod.ReasonImagePullBackOff:
		return "image can't be pulled"
	default:
		return s.Waiting.Reason
	}
}
