#!/bin/sh
# Make a small Debian system and write it as a tar archive.
#
#   debootstrap.sh CODENAME FILE.tar        as root, on Debian or Ubuntu, with debootstrap installed
#
# Packages come from where this machine's apt gets them (sources.list or deb822, through apt's proxy), or from
# $CLOUDMESH_DEBIAN_MIRROR. Where that mirror carries the updates and the security archive, they are applied and stay
# configured in the result. No certificate, key or proxy of this machine gets into it.
set -eu
umask 022

fail() {
    echo "::fail $*"
    exit 1
}

[ $# -eq 2 ] || fail "usage: debootstrap.sh CODENAME FILE.tar"
codename=$1
archive=$2
keyring=${CLOUDMESH_DEBIAN_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}

[ "$(id -u)" -eq 0 ] || fail "making a Debian base image needs root: run this command once as root, or pull debian:$codename-slim"
command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"
[ -r "$keyring" ] || fail "$keyring is missing: apt-get install debian-archive-keyring"

# shellcheck source=/dev/null
distribution=$(. /etc/os-release && echo "${ID:-}")
# shellcheck source=/dev/null
own=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")

# sources: "URI SUITE" of each place that this machine's apt gets Debian's main component from
sources() {
    [ "$distribution" = debian ] || return 0
    # shellcheck disable=SC2016  # apt's own placeholders
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk '$3 == "main" { sub("/$", "", $1); print $1, $2 }'
}

# The archive is where this machine's own release is; one that has its updates too is no third party's.
names="$own stable oldstable testing unstable sid"
mirror=${CLOUDMESH_DEBIAN_MIRROR:-$(sources | awk -v names="$names" '
    BEGIN { split(names, list, " "); for (i in list) own[list[i]] = 1 }
    { suite = $2; updates = sub("-updates$", "", suite) }
    suite in own && updates { print $1; found = 1; exit }
    suite in own && !first { first = $1 }
    END { if (!found && first) print first }')}
security=${CLOUDMESH_DEBIAN_MIRROR:+$CLOUDMESH_DEBIAN_MIRROR-security}
[ -n "$security" ] || security=$(sources | awk '$2 ~ /-security$/ { print $1; exit }')
if command -v apt-config >/dev/null && [ -z "${http_proxy:-}" ]; then
    proxy=
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [ -z "$proxy" ] || export http_proxy="$proxy"
fi

# Not /tmp: it is often mounted nodev or in memory.
work=$(mktemp -d "${TMPDIR:-/var/tmp}/cloudmesh-debian.XXXXXX")
# an interrupted debootstrap may leave these mounted
clean() {
    umount "$work/root/proc" "$work/root/sys" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM HUP
root=$work/root

mkdir -p "$root/etc/dpkg/dpkg.cfg.d" "$root/etc/apt/apt.conf.d"
cat >"$root/etc/dpkg/dpkg.cfg.d/image" <<'END'
force-unsafe-io
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
END
cat >"$root/etc/apt/apt.conf.d/image" <<'END'
Acquire::Languages "none";
END

script=
if [ -n "$mirror" ] && [ ! -e "/usr/share/debootstrap/scripts/$codename" ]; then
    script=sid # a release newer than this machine's debootstrap
fi
echo "::step debootstrap $codename"
debootstrap --variant=minbase --include=ca-certificates --keyring="$keyring" \
    "$codename" "$root" ${mirror:+"$mirror"} ${script:+"$script"} >"$work/log" 2>&1 ||
    fail "debootstrap: $(grep '^E:' "$work/log" | tail -n 1 || tail -n 1 "$work/log")"

mirror=${mirror:-$(awk '$1 == "deb" { print $2; exit }' "$root/etc/apt/sources.list")}
mirror=${mirror%/}
security=${security:-$mirror-security}
has() { wget -q -t 1 -T 10 -O /dev/null "$1/dists/$2/InRelease"; }
signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
{
    echo "deb $signed $mirror $codename main"
    if has "$mirror" "$codename-updates"; then echo "deb $signed $mirror $codename-updates main"; fi
    if has "$security" "$codename-security"; then echo "deb $signed $security $codename-security main"; fi
} >"$root/etc/apt/sources.list"

echo "::step security updates"
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} "$@"; }
{ inside apt-get -q update && inside apt-get -qy dist-upgrade; } >>"$work/log" 2>&1 ||
    fail "apt-get: $(grep '^E:' "$work/log" | tail -n 1)"

echo "::step pack"
inside apt-get clean
find "$root/var/lib/apt/lists" "$root/var/log" -type f -delete
rm -f "$root/etc/resolv.conf" "$root/etc/hostname" "$root/etc/machine-id" "$root/var/lib/dbus/machine-id" "$root/var/cache/ldconfig/aux-cache" "$root/var/lib/dpkg/"*-old "$root/var/cache/debconf/"*-old
rm -rf "$root/usr/share/man" "$root/usr/share/info" "$root/usr/share/locale"
find "$root/usr/share/doc" -type f ! -name copyright -delete
: >"$root/etc/machine-id"
tar --numeric-owner --one-file-system -C "$root" --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -cf "$archive.part" .
mv "$archive.part" "$archive"
