#!/bin/sh
# Writes the system that this runs in as a disk to boot from: mkdisk.sh FOLDER SIZE, as root in a container.
set -eu
out=$1
size=$2
tree=$(mktemp -d)

cp "$(ls /boot/vmlinuz-*)" "$out/vmlinuz"
cp "$(ls /boot/initrd.img-*)" "$out/initrd.img"
tar -C / --one-file-system --exclude="./${tree#/}" --exclude=./usr/local/lib/mkdisk.sh --exclude=./.dockerenv \
    --exclude=./etc/hosts --exclude=./etc/hostname --exclude=./etc/resolv.conf -c . | tar -C "$tree" -x
# these are the container's own
mkdir -p "$tree/proc" "$tree/sys" "$tree/dev" "$tree/run" "$tree/tmp"
ln -s ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
printf '127.0.0.1 localhost\n::1 localhost\n10.99.0.1 t-vm-1\n10.99.0.2 t-vm-2\n' >"$tree/etc/hosts"
echo '/dev/vda / ext4 errors=remount-ro 0 1' >"$tree/etc/fstab"
mkfs.ext4 -q -F -L root -d "$tree" "$out/disk.img" "$size"
