package nodestatus

import (
	"maps"
	"runtime"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Thresholds of the pressure conditions. The disk has a relative and an
// absolute one, and both have to be crossed: a tenth of a large disk is still
// a lot of room.
const (
	memoryLow       = 100 << 20
	diskLow         = 2 << 30
	diskLowPercent  = 10
	inodeLowPercent = 5
	pidLowPercent   = 10
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
	s.Allocatable = allocatable(s.Capacity)
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

func (id Identity) capacity(f Facts) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(f.CPUs), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(f.MemoryTotal, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(id.MaxPods, resource.DecimalSI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(f.DiskTotal, resource.BinarySI),
	}
}

// allocatable leaves of memory and disk what the pressure thresholds keep
// free anyway.
func allocatable(capacity corev1.ResourceList) corev1.ResourceList {
	out := capacity.DeepCopy()
	mem := capacity.Memory().Value()
	out[corev1.ResourceMemory] = *resource.NewQuantity(max(mem-memoryLow, 0), resource.BinarySI)
	disk := capacity.StorageEphemeral().Value()
	keep := min(disk/100*diskLowPercent, diskLow)
	out[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(disk-keep, resource.BinarySI)
	return out
}

func (id Identity) addresses(hostname string) []corev1.NodeAddress {
	out := make([]corev1.NodeAddress, 0, len(id.IPs)+1)
	for _, ip := range id.IPs {
		out = append(out, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	return append(out, corev1.NodeAddress{Type: corev1.NodeHostName, Address: hostname})
}

func conditions(r Reading) []corev1.NodeCondition {
	f := r.Facts
	diskPressure := (f.DiskAvailable < diskLow && f.DiskAvailable < f.DiskTotal/100*diskLowPercent) ||
		(f.InodesTotal > 0 && f.InodesFree < f.InodesTotal/100*inodeLowPercent)
	return []corev1.NodeCondition{
		pressure(corev1.NodeMemoryPressure, f.MemoryAvailable < memoryLow, "Memory", "memory available"),
		pressure(corev1.NodeDiskPressure, diskPressure, "Disk", "disk space and inodes available"),
		pressure(corev1.NodePIDPressure, f.PIDMax-f.PIDs < f.PIDMax/100*pidLowPercent, "PID", "process IDs available"),
		ready(r.Problems),
	}
}

func pressure(t corev1.NodeConditionType, yes bool, name, what string) corev1.NodeCondition {
	if yes {
		return corev1.NodeCondition{
			Type: t, Status: corev1.ConditionTrue,
			Reason: "Insufficient" + name, Message: "node has insufficient " + what,
		}
	}
	return corev1.NodeCondition{
		Type: t, Status: corev1.ConditionFalse,
		Reason: "Sufficient" + name, Message: "node has sufficient " + what,
	}
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
