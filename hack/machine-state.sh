#!/bin/bash
# Lists what a container engine can leave behind on a machine, in a stable
# order: machine-state.sh prints it; machine-state.sh diff FILE compares the
# present state with an earlier print and fails where they differ.
# A file system below one of the directories in CAROB_STATE_IGNORE (with a
# colon between them) is left out, as are counters and times.
set -u
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

section() { printf '== %s\n' "$1"; }
ignore() { if [ -n "${CAROB_STATE_IGNORE:-}" ]; then grep -vE "$(sed 's/:/|/g' <<<"$CAROB_STATE_IGNORE")"; else cat; fi; }

state() {
	section "mounts"
	awk '{print $5}' /proc/self/mountinfo | ignore | sort
	section "named network namespaces"
	ls /run/netns 2>/dev/null | sort
	section "interfaces"
	# With the bridge an interface belongs to: the names of veths say nothing.
	ip -o link | sed -E 's/^[0-9]+: ([^:@]+)[^ ]* .* (master [^ ]+) .*/\1 \2/; s/^[0-9]+: ([^:@ ]+)[:@].*/\1/' | sort
	section "routes"
	ip -4 route show table all | sed -E 's/ (expires|metric) [0-9a-z]+| linkdown\b//g' | sort
	section "nftables and iptables"
	# Each line with the table and the chain it is in.
	nft list ruleset 2>/dev/null | sed -E 's/counter packets [0-9]+ bytes [0-9]+/counter/; s/ # handle [0-9]+//' |
		awk '/^table/{t=$2" "$3; c=""} /^\tchain/{c=" "$2} NF{print t c": "$0} /^\t}/{c=""}'
	section "IP reservations"
	find /var/lib/cni -type f 2>/dev/null | grep -v '/lock$' | ignore | sort
	section "processes of containers"
	ps -eo args | grep -E '(^|/)(containerd|containerd-shim[^ ]*|runc|crun|carob)( |$)' | grep -vE 'grep|^runc init$' | ignore | sort
	section "cgroups"
	find /sys/fs/cgroup -mindepth 1 -type d 2>/dev/null | ignore | sort
	section "containerd: containers, snapshots, leases"
	if [ -S /run/containerd/containerd.sock ] && command -v ctr >/dev/null; then
		for ns in $(ctr namespaces ls -q 2>/dev/null | sort); do
			for kind in containers snapshots leases; do
				ctr -n "$ns" $kind ls 2>/dev/null | awk -v p="$ns $kind" 'NR>1{print p, $1}' | sort
			done
		done
	fi
	section "AppArmor profiles"
	sort /sys/kernel/security/apparmor/profiles 2>/dev/null
	section "kernel settings"
	sysctl net.ipv4.ip_forward net.ipv4.conf.all.route_localnet 2>/dev/null
}

case "${1:-}" in
"") state ;;
diff) diff -u "${2:?diff needs the file of an earlier print}" <(state) ;;
*) echo "usage: machine-state.sh [diff FILE]" >&2; exit 2 ;;
esac
