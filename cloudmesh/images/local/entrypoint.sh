#!/bin/sh
# First process of a local host: make the container enough of a machine, then become systemd.
set -eu

# Docker mounts /sys and the control groups read-only; only a bind remount is allowed.
mount -o remount,bind,rw /sys
awk '$5 ~ "^/sys/fs/cgroup" { print $5 }' /proc/self/mountinfo | while read -r target; do
    mount -o remount,bind,rw "$target"
done
# Nested engines share mounts with their containers.
mount --make-rshared /

# Control group hierarchies (version 1) that Docker does not put containers into are shared by all of them, and nested
# engines would delete each other's groups: enter a group of one's own in each.
shared=
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    # Version 2: a group with processes in it cannot hand controllers on, so that a `docker exec` at the wrong time would
    # leave the services without. With controllers handed on from the start, it joins init.scope instead.
    mkdir -p /sys/fs/cgroup/init.scope
    echo $$ >/sys/fs/cgroup/init.scope/cgroup.procs
    sed 's/[a-z]*/+&/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control || true
else
    while IFS=: read -r _ controllers _; do
        [ -n "$controllers" ] || continue
        mountpoint -q "/sys/fs/cgroup/${controllers#name=}" && continue
        scratch=/run/cgroup.$controllers
        mkdir -p "$scratch"
        case $controllers in name=*) option=none,$controllers ;; *) option=$controllers ;; esac
        if mount -t cgroup -o "$option" cgroup "$scratch" 2>/dev/null; then
            mkdir -p "$scratch/cloudmesh-$(hostname)"
            echo $$ >"$scratch/cloudmesh-$(hostname)/cgroup.procs"
            umount "$scratch"
            shared=yes
        fi
        rmdir "$scratch"
    done </proc/self/cgroup
fi

# Devices that engines ask for and Docker does not make.
[ -e /dev/kmsg ] || mknod -m 600 /dev/kmsg c 1 11
[ -e /dev/fuse ] || mknod -m 666 /dev/fuse c 10 229
if [ ! -e /dev/net/tun ]; then
    mkdir -p /dev/net
    mknod -m 666 /dev/net/tun c 10 200
fi

[ -s /etc/machine-id ] || tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
# Docker's own resolver (127.0.0.11) makes CoreDNS loop and nested engines fall back to a public one.
if [ -s /etc/cloudmesh-local/resolv.conf ]; then
    cat /etc/cloudmesh-local/resolv.conf >/etc/resolv.conf
fi

# Debian 13's systemd refuses version 1 control groups without this word; others ignore it.
set -- /sbin/init SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1
[ -z "$shared" ] || set -- unshare --cgroup "$@"
exec "$@"
