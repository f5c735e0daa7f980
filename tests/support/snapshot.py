"""Everything of a host that a cluster could leave traces in, as text, so that two moments can be compared."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Protocol

from cloudmesh.cluster.hosts.local import container_config
from support.waiting import wait_until

Snapshot = Mapping[str, frozenset[str]]  # lines by section, such as files or packages


class ComparedHost(Protocol):
    """A host on which scripts can be run as root."""

    def run(self, script: str, /, *, env: Mapping[str, str] | None = None) -> str:
        """Return the output of a shell script."""
        ...

    def read_nftables(self) -> str:
        """Return the kernel's nftables, as `nft` lists them."""
        ...


# Files and directories that are not compared, with the reason:
_EXCEPTIONS = (
    # apt and dpkg: their indexes, lock and log; which packages there are is compared by name
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/ucf",
    "/var/cache/apt",
    "/var/cache/debconf",
    "/var/cache/ldconfig",
    "/var/cache/man",
    "/var/log",
    # what useradd, userdel and their like keep of the files before their last change
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    # systemd and its parts, which keep their own state there; units and mounts are compared by name
    "/run/systemd",
    "/run/credentials",
    "/run/log",
    "/run/udev",
    # made by a login, and the lock of adduser, which stay until the next boot whoever it was
    "/run/motd.dynamic",
    "/run/adduser",
    # what Debian keeps of dpkg's books, at midnight
    "/var/backups",
    # the moments of timers that ran, and what is written anew at every boot
    "/var/lib/systemd/timers",
    "/var/lib/systemd/random-seed",
    # made again by what is installed or purged, and never the same byte by byte
    "/boot/initrd.img-*",
    # notes of mounts, of which utab is compared below
    "/run/mount",
    # an NFS server's notes of its clients
    "/var/lib/nfs/nfsdcld",
)

_SCRIPT = r"""
export LC_ALL=C
section() { echo "== $1"; }

section files
for top in / /run /tmp VOLUMES; do
    find "$top" -xdev \( EXCEPT \) -prune -o ! -type f -printf '%p %y %m %U:%G %l\n' -o -printf '%p %y %m %U:%G\n'
done | sed 's/\(systemd-private\)-[0-9a-f]*\(-[^ /]*\)-[A-Za-z0-9]*/\1\2/'  # a random name for each boot and start
section contents
for top in / /run /tmp VOLUMES; do
    find "$top" -xdev \( EXCEPT \) -prune -o -type f ! -name '*.pid' -print0
done | xargs -0 sha256sum
section packages
dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\n'
apt-mark showmanual | sed 's/^/manual /'
section accounts
getent passwd; getent group; cut -d: -f1,2 /etc/shadow /etc/gshadow
section processes
# neither this script nor the kernel's threads
for process in /proc/[0-9]*; do
    case $(readlink "$process/exe") in '') continue ;; esac
    case $(cat "$process/cpuset"; tr '\0' ' ' <"$process/environ") in *SNAPSHOT=*) continue ;; esac
    tr '\0' ' ' <"$process/cmdline"; echo
done
section ports
ss -Hltunp | sed 's/users:.*//; s/  */ /g'
section mounts
# whoever lists all sysctls has binfmt_misc mounted
cut -d ' ' -f 2,3 /proc/mounts | grep -v '^/run/credentials/\|^/proc/sys/fs/binfmt_misc '
sed 's/ID=[0-9]* //' /run/mount/utab 2>/dev/null
section links
ip -o link | sed 's/^[0-9]*: //; s/@.*//; s/:.*//'
ip -o addr show scope global | awk '{ print $2, $4 }'
ip route; ip -6 route | sed 's/expires [0-9]*sec//'
section sysctls
sysctl -a 2>/dev/null | grep -E '^net\.(ipv[46]\.(ip_forward|conf\.)|bridge)'
section firewall
for tool in iptables ip6tables; do "$tool-save" 2>/dev/null; done | sed '/^#/d; s/\[[0-9:]*\]//'
section units
systemctl list-unit-files --no-legend | sed 's/  */ /g; s/\(transient\).*/\1/' | grep -v '^session-'
systemctl list-units --all --no-legend --plain --type=service,socket,timer,mount,automount,swap,target,path,slice |
    awk '{ print $1, $2, $3, $4 }' | grep -v '^session-\|^user\(-runtime-dir\)\?@\|^user-\|^run-credentials' |
    # points of the boot that somebody asked for; they stay reached
    grep -v '^network-online.target\|^systemd-networkd-wait-online.service\|^remote-fs-pre.target'
section groups
# those of systemd's units go with the units
find /sys/fs/cgroup -type d | grep -v '/\(system\|user\)\.slice\|\.scope\|\.mount$'
""".replace("VOLUMES", " ".join(container_config.VOLUMES.values())).replace(
    "EXCEPT", " -o ".join(f"-path '{path}'" for path in _EXCEPTIONS)
)


def take(host: ComparedHost) -> Snapshot:
    """Return the state of a host now."""
    sections: dict[str, set[str]] = {}
    current: set[str] = set()
    for line in host.run(_SCRIPT, env={"SNAPSHOT": "1"}).splitlines():
        if line.startswith("== "):
            current = sections.setdefault(line[3:], set())
        elif line.strip():
            current.add(line.strip())
    sections["nftables"] = set(host.read_nftables().splitlines())
    return {name: frozenset(lines) for name, lines in sections.items()}


def find_differences(before: Snapshot, host: ComparedHost, seconds: float = 15) -> list[str]:
    """Return what is not as it was before, once nothing is or `seconds` are over: sessions take a moment to end."""
    return wait_until(lambda: _compare(before, take(host)), seconds, pause=1, satisfies=operator.not_)


def _compare(before: Snapshot, after: Snapshot) -> list[str]:
    """Return a line for each line of the snapshots that is not in both, those that are gone first."""
    gone = [f"{section}: - {line}" for section, lines in before.items() for line in sorted(lines - after[section])]
    new = [f"{section}: + {line}" for section, lines in after.items() for line in sorted(lines - before[section])]
    return gone + new
