package node

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/registry/kind"
)

const (
	roleLabelPrefix = "node-role.kubernetes.io/"
	oldRoleLabel    = "kubernetes.io/role"
)

func columns() []metav1.TableColumnDefinition {
	info := corev1.NodeSystemInfo{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		kind.NameColumn(),
		kind.Column("Status", "string", "The status of the node", false),
		kind.Column("Roles", "string", "The roles of the node", false),
		kind.AgeColumn(),
		kind.Column("Version", "string", info["kubeletVersion"], false),
		kind.Column("Internal-IP", "string", corev1.NodeStatus{}.SwaggerDoc()["addresses"], true),
		kind.Column("External-IP", "string", corev1.NodeStatus{}.SwaggerDoc()["addresses"], true),
		kind.Column("OS-Image", "string", info["osImage"], true),
		kind.Column("Kernel-Version", "string", info["kernelVersion"], true),
		kind.Column("Container-Runtime", "string", info["containerRuntimeVersion"], true),
	}
}

func row(n *corev1.Node) []any {
	info := n.Status.NodeInfo
	return []any{
		n.Name, status(n), kind.OrNone(strings.Join(roles(n), ",")), kind.Age(n.CreationTimestamp), info.KubeletVersion,
		kind.OrNone(address(n, corev1.NodeInternalIP)), kind.OrNone(address(n, corev1.NodeExternalIP)),
		orUnknown(info.OSImage), orUnknown(info.KernelVersion), orUnknown(info.ContainerRuntimeVersion),
	}
}

func status(n *corev1.Node) string {
	s := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if s = "NotReady"; c.Status == corev1.ConditionTrue {
			s = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		s += ",SchedulingDisabled"
	}
	return s
}

func roles(n *corev1.Node) []string {
	var out []string
	for key, value := range n.Labels {
		if role, ok := strings.CutPrefix(key, roleLabelPrefix); ok && role != "" {
			out = append(out, role)
		} else if key == oldRoleLabel && value != "" {
			out = append(out, value)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func address(n *corev1.Node, t corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == t {
			return a.Address
		}
	}
	return ""
}

func orUnknown(s string) string {
	if s == "" {
		return "<unknown>"
	}
	return s
}
