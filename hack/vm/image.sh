#!/bin/bash
# Makes what a test VM boots from, in the directory OUT: vmlinuz, initrd and
# disk.img, an ext4 root with carob, containerd, runc, CNI plugins and a few
# tools. Everything comes from this machine and from Debian packages of a kernel
# and of what loads its modules and AppArmor profiles and compiles its SELinux
# policy, which are unpacked and not installed.
# CAROB_BIN names the carob to take, PATH which containerd and runc.
# CAROB_VM_KERNEL=backports takes the newer kernel that Debian builds for this
# release.
set -euo pipefail
out=$(mkdir -p "${1:?usage: image.sh OUT}" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."
export PATH=$PATH:/usr/sbin:/sbin CGO_ENABLED=0
say() { printf 'vm image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

need() { command -v "$1" >/dev/null || die "no $1: apt-get install --no-install-recommends $2"; }
need qemu-system-x86_64 qemu-system-x86
need mkfs.ext4 e2fsprogs
need busybox busybox-static
need bash bash
need ps procps
need ip iproute2
carob=${CAROB_BIN:-bin/carob}
[ -x "$carob" ] && [ -x "$(dirname "$carob")/carob-init" ] || die "no $carob with carob-init beside it: make build"

# The kernel and these packages, unpacked once.
pkg=$out/packages
tools=(kmod apparmor secilc)
# backports has apt look at the backports beside the release that this machine
# has, in lists of its own: what the machine installs stays as it is.
backports() {
	local repository
	repository=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' | awk '$2 !~ /-/{print; exit}')
	[ -n "$repository" ] || die "apt has no lists of a release: apt-get update"
	mkdir -p "$pkg/apt/lists/partial"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $repository-backports main" >"$pkg/apt/sources.list"
	apt+=(-o "Dir::Etc::sourcelist=$pkg/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::Lists=$pkg/apt/lists" -o "Dir::Cache=$pkg/apt")
	apt-get "${apt[@]}" update -qq || die "no backports of $repository"
}
if [ "$(cat "$pkg/done" 2>/dev/null)" != "${tools[*]}" ]; then
	rm -rf "$pkg" && mkdir -p "$pkg"
	# apt drops its rights for downloads, and may not write here.
	apt=(-o APT::Sandbox::User=root)
	[ "${CAROB_VM_KERNEL:-}" != backports ] || backports
	kernel=$(apt-cache "${apt[@]}" depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/{print $2; exit}')
	[ -n "$kernel" ] || die "apt knows no linux-image-cloud-amd64: apt-get update"
	say "fetching $kernel"
	(cd "$pkg" && apt-get "${apt[@]}" download -qq "$kernel" && apt-get download -qq -o APT::Sandbox::User=root "${tools[@]}")
	for deb in "$pkg"/*.deb; do dpkg-deb -x "$deb" "$pkg/root" && rm "$deb"; done
	# kmod goes by the name it is called by; the package's links are absolute.
	for name in depmod modprobe; do ln -s root/bin/kmod "$pkg/$name"; done
	# Not every modprobe can read what newer kernels' packages compress.
	find "$pkg/root/lib/modules" -name '*.ko.xz' -print0 | xargs -0r busybox unxz
	"$pkg/depmod" -b "$pkg/root" "$(ls "$pkg/root/lib/modules")"
	echo "${tools[*]}" >"$pkg/done"
fi
version=$(ls "$pkg/root/lib/modules")
cp "$pkg/root/boot/vmlinuz-$version" "$out/vmlinuz"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The initrd loads the disk's driver and hands over to the disk.
initrd=$work/initrd
mkdir -p "$initrd"/{bin,dev,proc,mnt,modules}
cp "$(command -v busybox)" "$initrd/bin/busybox"
n=10
for m in virtio_pci virtio_blk quota_v2; do
	for ko in $("$pkg/modprobe" -d "$pkg/root" -S "$version" --show-depends $m | awk '$1=="insmod"{print $2}'); do
		n=$((n + 1))
		compgen -G "$initrd/modules/*-${ko##*/}" >/dev/null || cp "$ko" "$initrd/modules/$n-${ko##*/}"
	done
done
install -m 0755 hack/vm/initrd-init "$initrd/init"
(cd "$initrd" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$out/initrd"

# The root file system.
root=$work/root
mkdir -p "$root"/{lib,lib64,usr/bin,usr/lib/cni,etc/ssl/certs,dev,proc,sys,run,tmp,root,var/log,var/lib}
for d in bin sbin usr/sbin; do ln -s /usr/bin "$root/$d"; done
# add FILE...: a program, under its own name below /usr/bin, and its libraries.
add() {
	local file lib
	for file in "$@"; do
		file=$(command -v "$file") || die "no $file on PATH: make setup"
		cp -L "$file" "$root/usr/bin/"
		libs "$file"
	done
}
libs() {
	# A static program has none.
	ldd "$1" 2>/dev/null | grep -oE '/[^ ]+' | while read -r lib; do
		[ -e "$root$lib" ] || install -D -m 0755 "$lib" "$root$lib"
	done || true
}
add bash stat chcon ps ip nft iptables containerd containerd-shim-runc-v2 runc ctr
plugins=
for d in /opt/cni/bin /usr/lib/cni /usr/libexec/cni; do [ -x $d/bridge ] && plugins=$d; done
[ -n "$plugins" ] || die "no CNI plugins: make setup"
for p in bridge host-local loopback portmap; do cp "$plugins/$p" "$root/usr/lib/cni/" && libs "$plugins/$p"; done
# iptables finds its extensions by directory.
cp -r --parents /usr/lib/x86_64-linux-gnu/xtables "$root/" 2>/dev/null || true
cp "$pkg/root/bin/kmod" "$root/usr/bin/" && libs "$pkg/root/bin/kmod"
ln -s kmod "$root/usr/bin/modprobe"
# The parser reads the features to use, and the rules that profiles include.
cp "$pkg/root/sbin/apparmor_parser" "$root/usr/bin/" && libs "$pkg/root/sbin/apparmor_parser"
cp -r "$pkg/root/etc/apparmor" "$pkg/root/etc/apparmor.d" "$root/etc/"
install -D -m 0644 "$pkg/root/usr/share/apparmor-features/features" "$root/usr/share/apparmor-features/features"
cp "$pkg/root/usr/bin/secilc" "$root/usr/bin/" && libs "$pkg/root/usr/bin/secilc"
# busybox is what is not there in earnest.
cp "$(command -v busybox)" "$root/usr/bin/busybox"
for applet in init $(busybox --list); do [ -e "$root/usr/bin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"; done
cp -r "$pkg/root/lib/modules" "$root/lib/"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" 2>/dev/null || true
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
cp hack/vm/inittab "$root/etc/"
install -m 0755 hack/vm/rc hack/vm/rc-shutdown hack/machine-state.sh "$root/etc/"
cp "$carob" "$root/usr/bin/carob"
cp "$(dirname "$carob")/carob-init" "$root/usr/bin/"
go build -o "$root/usr/bin/guest" ./hack/vm/guest
go run ./hack/demoimage -o "$root/root/image.tar"
# What only a kernel with one cgroup hierarchy, or a file system with project
# quotas, shows.
go test -c -o "$root/root/" ./pkg/cgroup ./pkg/localvolume

rm -f "$out/disk.img"
truncate -s 3G "$out/disk.img"
mkfs.ext4 -q -O project,quota -E root_owner=0:0,quotatype=prjquota -d "$root" "$out/disk.img"
say "$(du -h "$out/disk.img" | cut -f1) on disk, kernel $version, $("$carob" version 2>/dev/null | head -1), $(containerd --version | cut -d' ' -f3)"
