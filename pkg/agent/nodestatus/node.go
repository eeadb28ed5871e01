package nodestatus

import (
	"maps"
	"runtime"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/eviction"
)

// Identity is what stays the same about a node while its agent runs.
type Identity struct {
	Name string
	// IPs are the node's addresses, the first one its main one.
	IPs []string
	// Labels are added to those that every node has.
	Labels map[string]string
	// Handlers names the runtimes there are beside the default one.
	Handlers []string
	// MaxPods is the capacity for pods.
	MaxPods int64
	// Reserved is kept from all pods; what the hard ones of Thresholds keep
	// free comes on top.
	Reserved   corev1.ResourceList
	Thresholds []eviction.Threshold
	// UnlimitedHugePages: a pod cannot be kept from the huge pages of others.
	UnlimitedHugePages bool
	// AgentVersion is shown as kubeletVersion; clients parse it as a semantic
	// version with a leading v.
	AgentVersion string
}

// Condition reasons.
const (
	ReasonReady           = "AgentReady"
	ReasonRuntimeNotReady = "RuntimeNotReady"
	ReasonNetworkNotReady = "NetworkNotReady"
)

// Reading is everything variable that goes into a Node.
type Reading struct {
	Facts          Facts
	RuntimeVersion string
	Images         []corev1.ContainerImage
	// Features of the runtimes, by handler.
	Features map[string]*corev1.NodeRuntimeHandlerFeatures
	// Problems are what keeps the node from running pods; none: it is ready.
	Problems []Problem
	// Pressure are the conditions of a node that runs short of something.
	Pressure []corev1.NodeConditionType
}

// Problem is one reason why a node is not ready.
type Problem struct {
	Reason  string
	Message string
}

// WithObject returns a copy of n with the labels that a node of this identity
// has. n is empty for a node that does not exist yet.
func (id Identity) WithObject(n *corev1.Node, hostname string) *corev1.Node {
	n = n.DeepCopy()
	n.Name = id.Name
	labels := map[string]string{
		corev1.LabelHostname:   hostname,
		corev1.LabelOSStable:   runtime.GOOS,
		corev1.LabelArchStable: runtime.GOARCH,
	}
	maps.Copy(labels, id.Labels)
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	maps.Copy(n.Labels, labels)
	return n
}

// Status returns what the status should be after a reading, given what it was.
// Conditions of types that this package does not know are kept.
func (id Identity) Status(old corev1.NodeStatus, r Reading, now metav1.Time) corev1.NodeStatus {
	s := *old.DeepCopy()
	f := r.Facts
	s.Capacity = id.capacity(f)
	s.Allocatable = eviction.Allocatable(s.Capacity, id.Reserved, eviction.Reserved(id.Thresholds, s.Capacity), id.hugePages(f))
	s.Addresses = id.addresses(f.Hostname)
	s.NodeInfo = corev1.NodeSystemInfo{
		MachineID:               f.MachineID,
		SystemUUID:              f.SystemUUID,
		BootID:                  f.BootID,
		KernelVersion:           f.Kernel,
		OSImage:                 f.OSImage,
		ContainerRuntimeVersion: r.RuntimeVersion,
		KubeletVersion:          id.AgentVersion,
		OperatingSystem:         runtime.GOOS,
		Architecture:            runtime.GOARCH,
		RunningInUserNamespace:  &f.InUserNamespace,
	}
	// The nameless one is what pods without a runtime class get.
	s.RuntimeHandlers = []corev1.NodeRuntimeHandler{{Features: r.Features[""]}}
	for _, name := range id.Handlers {
		s.RuntimeHandlers = append(s.RuntimeHandlers, corev1.NodeRuntimeHandler{Name: name, Features: r.Features[name]})
	}
	// Every runtime is given the groups themselves.
	strict := true
	s.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: &strict}
	if r.RuntimeVersion == "" {
		s.NodeInfo.ContainerRuntimeVersion = old.NodeInfo.ContainerRuntimeVersion
	}
	s.Images = r.Images
	for _, c := range conditions(r) {
		setCondition(&s.Conditions, c, now)
	}
	return s
}

// hugePages is what they take from other memory; where a pod cannot be held to
// its own there are none to give.
func (id Identity) hugePages(f Facts) corev1.ResourceList {
	out := corev1.ResourceList{}
	var sum int64
	for size, bytes := range f.HugePages {
		sum += bytes
		if id.UnlimitedHugePages {
			out[hugePagesName(size)] = *resource.NewQuantity(bytes, resource.BinarySI)
		}
	}
	out[corev1.ResourceMemory] = *resource.NewQuantity(sum, resource.BinarySI)
	return out
}

func hugePagesName(size int64) corev1.ResourceName {
	return corev1.ResourceName(corev1.ResourceHugePagesPrefix + resource.NewQuantity(size, resource.BinarySI).String())
}

func (id Identity) capacity(f Facts) corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(f.CPUs), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(f.MemoryTotal, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(id.MaxPods, resource.DecimalSI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(f.DiskTotal, resource.BinarySI),
	}
	for size, bytes := range f.HugePages {
		list[hugePagesName(size)] = *resource.NewQuantity(bytes, resource.BinarySI)
	}
	return list
}

func (id Identity) addresses(hostname string) []corev1.NodeAddress {
	out := make([]corev1.NodeAddress, 0, len(id.IPs)+1)
	for _, ip := range id.IPs {
		out = append(out, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	return append(out, corev1.NodeAddress{Type: corev1.NodeHostName, Address: hostname})
}

func conditions(r Reading) []corev1.NodeCondition {
	has := func(t corev1.NodeConditionType) bool { return slices.Contains(r.Pressure, t) }
	list := []corev1.NodeCondition{
		{Type: corev1.NodeMemoryPressure, Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available"},
		{Type: corev1.NodeDiskPressure, Reason: "KubeletHasNoDiskPressure", Message: "kubelet has no disk pressure"},
		{Type: corev1.NodePIDPressure, Reason: "KubeletHasSufficientPID", Message: "kubelet has sufficient PID available"},
	}
	bad := [][2]string{
		{"KubeletHasInsufficientMemory", "kubelet has insufficient memory available"},
		{"KubeletHasDiskPressure", "kubelet has disk pressure"},
		{"KubeletHasInsufficientPID", "kubelet has insufficient PID available"},
	}
	for i := range list {
		c := &list[i]
		c.Status = corev1.ConditionFalse
		if has(c.Type) {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, bad[i][0], bad[i][1]
		}
	}
	return append(list, ready(r.Problems))
}

// eventOf is the reason of the event that tells of a condition's change.
func eventOf(c corev1.NodeCondition) string {
	yes := c.Status == corev1.ConditionTrue
	pick := func(ifTrue, ifFalse string) string {
		if yes {
			return ifTrue
		}
		return ifFalse
	}
	switch c.Type {
	case corev1.NodeMemoryPressure:
		return pick("NodeHasInsufficientMemory", "NodeHasSufficientMemory")
	case corev1.NodeDiskPressure:
		return pick("NodeHasDiskPressure", "NodeHasNoDiskPressure")
	case corev1.NodePIDPressure:
		return pick("NodeHasInsufficientPID", "NodeHasSufficientPID")
	case corev1.NodeReady:
		return pick("NodeReady", "NodeNotReady")
	}
	return ""
}

// changes are the reasons of the events that tell how the conditions differ.
func changes(old, now []corev1.NodeCondition) []string {
	var out []string
	for _, c := range now {
		i := slices.IndexFunc(old, func(o corev1.NodeCondition) bool { return o.Type == c.Type })
		if reason := eventOf(c); reason != "" && (i < 0 || old[i].Status != c.Status) {
			out = append(out, reason)
		}
	}
	return out
}

func ready(problems []Problem) corev1.NodeCondition {
	if len(problems) == 0 {
		return corev1.NodeCondition{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue,
			Reason: ReasonReady, Message: "carob's agent is ready",
		}
	}
	message := ""
	for i, p := range problems {
		if i > 0 {
			message += "; "
		}
		message += p.Message
	}
	return corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionFalse,
		Reason: problems[0].Reason, Message: message,
	}
}

// setCondition puts c into list. The transition time changes only with the
// condition's status.
func setCondition(list *[]corev1.NodeCondition, c corev1.NodeCondition, now metav1.Time) {
	c.LastHeartbeatTime, c.LastTransitionTime = now, now
	i := slices.IndexFunc(*list, func(o corev1.NodeCondition) bool { return o.Type == c.Type })
	if i < 0 {
		*list = append(*list, c)
		return
	}
	if old := (*list)[i]; old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	(*list)[i] = c
}

// sameStatus says whether two statuses differ in heartbeat times at most.
func sameStatus(a, b corev1.NodeStatus) bool {
	return equality.Semantic.DeepEqual(withoutHeartbeats(a), withoutHeartbeats(b))
}

func withoutHeartbeats(s corev1.NodeStatus) corev1.NodeStatus {
	s.Conditions = slices.Clone(s.Conditions)
	for i := range s.Conditions {
		s.Conditions[i].LastHeartbeatTime = metav1.Time{}
	}
	return s
}
