//go:build vm

package vm

import (
	"fmt"
	"strings"
)

// The policy of the test knows one kind of process that may do everything, what
// runs on the node, and two kinds of containers. What it does not name, such as
// all that can be done to directories and devices, is everybody's.
const policyRules = `
(handleunknown allow)
(mls true)
(policycap nnp_nosuid_transition)
(class process (transition dyntransition))
(class file (read write open entrypoint))
(class dir ()) (class lnk_file ()) (class fifo_file ()) (class sock_file ()) (class chr_file ()) (class blk_file ())
(classorder (process file dir lnk_file fifo_file sock_file chr_file blk_file))
(sensitivity s0)
(sensitivityorder (s0))
(sensitivitycategory s0 (range c0 c1023))

(type node_t) (type node_file_t)
(type box_t) (type other_t) (type box_file_t) (type box_ro_file_t)
(type closed_t)
(typeattribute all_types)
(typeattributeset all_types (all))
(typeattribute boxes)
(typeattributeset boxes (box_t other_t))

(role system_r) (role other_r) (role object_r)
(roletype system_r all_types) (roletype other_r all_types) (roletype object_r all_types)
(roleallow system_r other_r)
(user system_u) (user other_u)
(userrole system_u system_r) (userrole system_u object_r)
(userrole other_u other_r) (userrole other_u object_r)
(level low (s0))
(level high (s0 (range c0 c1023)))
(levelrange any (low high))
(levelrange none (low low))
(userlevel system_u low) (userlevel other_u low)
(userrange system_u any) (userrange other_u any)

(context node (system_u system_r node_t any))
(context node_file (system_u object_r node_file_t none))
(fsuse xattr ext4 node_file)
(fsuse xattr overlay node_file)
(fsuse trans tmpfs node_file)
(fsuse trans devtmpfs node_file)
(fsuse trans devpts node_file)
(fsuse trans mqueue node_file)
(fsuse task pipefs node_file)
(fsuse task sockfs node_file)
(genfscon proc "/" node_file)
(genfscon sysfs "/" node_file)
(genfscon cgroup2 "/" node_file)

(allow node_t all_types (process (transition dyntransition)))
(allow node_t all_types (file (read write open entrypoint)))
(allow boxes boxes (file (read write open)))
(allow boxes box_file_t (file (read write open entrypoint)))
(allow boxes box_ro_file_t (file (read open)))
(allow boxes node_file_t (file (read open entrypoint)))
(allow other_t closed_t (file (read open)))
(mlsconstrain (file (read write open)) (dom h1 h2))
`

// The kernel begins with these; all but itself are files of the node here.
const initialIDs = "kernel security unlabeled fs file file_labels init any_socket port netif netmsg node " +
	"igmp_packet icmp_socket tcp_socket sysctl_modprobe sysctl sysctl_fs sysctl_kernel sysctl_net sysctl_net_unix " +
	"sysctl_vm sysctl_dev kmod policy scmp_packet devnull"

// policy is the source that secilc compiles.
func policy() string {
	var b strings.Builder
	b.WriteString(policyRules)
	var names []string
	for i := range 1024 {
		names = append(names, fmt.Sprintf("c%d", i))
		fmt.Fprintf(&b, "(category c%d)\n", i)
	}
	fmt.Fprintf(&b, "(categoryorder (%s))\n(sidorder (%s))\n", strings.Join(names, " "), initialIDs)
	for _, id := range strings.Fields(initialIDs) {
		context := "node_file"
		if id == "kernel" {
			context = "node"
		}
		fmt.Fprintf(&b, "(sid %s) (sidcontext %[1]s %s)\n", id, context)
	}
	return b.String()
}
