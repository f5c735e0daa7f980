#!/bin/sh
# Tells what a host is, and changes nothing on it.
#
# Reads from the current directory, each may be missing:
#   ports      TCP port numbers, one a line: which of them are taken?
#   interface  NAME or CIDR of the address that other hosts reach this one by; empty: the default route's
#   data_dir   where the cluster's data will go, a directory a line; they need not exist
# Prints a line "::fact KEY VALUE" for each fact that has a value, or "::fail CAUSE".
# Needs a shell, coreutils and awk; uses iproute2 where it is there.
set -eu
export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

fact() { [ -z "$2" ] || printf '::fact %s %s\n' "$1" "$2"; }
fail() { printf '::fail %s\n' "$1"; exit 1; }
line() { if [ -r "$1" ]; then head -n 1 "$1"; fi; }
has() { command -v "$1" >/dev/null 2>&1; }

# Clones share /etc/machine-id, containers the kernel's boot id and product_uuid, snapshots the boot id and the
# namespace's number: two machines differ in one of them, and one machine under two names in none.
machine_id() {
    {
        line /etc/machine-id
        line /sys/class/dmi/id/product_uuid
        line /proc/sys/kernel/random/boot_id
        readlink /proc/self/ns/pid
    } 2>/dev/null | sha256sum | head -c 32
}

os() (
    ID=unknown VERSION_ID='' VERSION_CODENAME=unknown
    # shellcheck source=/dev/null
    if [ -r /etc/os-release ]; then . /etc/os-release; fi
    printf '%s-%s\n' "$ID" "${VERSION_ID:-$VERSION_CODENAME}"
)

# The kernel's may be another: packages and containers are those of the programs on the host, as on a 32-bit system with
# a 64-bit kernel.
arch() {
    if has dpkg; then
        dpkg --print-architecture
        return
    fi
    case $(uname -m) in
        x86_64) echo amd64 ;;
        aarch64) echo arm64 ;;
        *) uname -m ;;
    esac
}

# "eth0 10.0.0.5/24" for each IPv4 address that is not loopback's.
addresses() {
    if has ip; then
        ip -o -4 addr show scope global | awk '{ sub(/[@:].*/, "", $2); print $2, $4 ($4 ~ /\// ? "" : "/32") }'
    else
        addresses_of_proc
    fi | awk '$2 !~ /^127\./ && !seen[$0]++'
}

# The kernel tells its own addresses in fib_trie, and the interface and prefix only by the routes to the networks
# around them (little-endian hexadecimal).
addresses_of_proc() {
    awk '
        function hex(text,  n, i) {
            for (i = 1; i <= 8; i++) n = n * 16 + index("0123456789ABCDEF", substr(text, i, 1)) - 1
            return n
        }
        function swapped(text) {
            return hex(substr(text, 7, 2) substr(text, 5, 2) substr(text, 3, 2) substr(text, 1, 2))
        }
        function number(quad,  part) {
            split(quad, part, ".")
            return ((part[1] * 256 + part[2]) * 256 + part[3]) * 256 + part[4]
        }
        FILENAME ~ /route$/ && FNR > 1 && $2 != "00000000" && $3 == "00000000" {
            routes++
            device[routes] = $1; net[routes] = swapped($2); size[routes] = 4294967296 - swapped($8)
        }
        FILENAME ~ /fib_trie$/ && $1 == "|--" { address = $2 }
        FILENAME ~ /fib_trie$/ && $1 == "/32" && $2 == "host" && $3 == "LOCAL" {
            best = 0
            for (i = 1; i <= routes; i++)
                if (int(number(address) / size[i]) == int(net[i] / size[i]) && (!best || size[i] < size[best])) best = i
            prefix = 32
            for (span = best ? size[best] : 1; span > 1; span /= 2) prefix--
            print (best ? device[best] : "?"), address "/" prefix
        }' /proc/net/route /proc/net/fib_trie
}

# "DEVICE SOURCE" of the default route, of the best one where there are several; the source may be missing.
default_route() {
    if has ip; then
        ip -o -4 route show default | awk 'NR == 1 {
            for (i = 1; i < NF; i++) { if ($i == "dev" && !dev) dev = $(i + 1); if ($i == "src") src = $(i + 1) }
            print dev, src
        }'
    else
        awk 'FNR > 1 && $2 == "00000000" && $8 == "00000000" && (!dev || $7 < metric) { dev = $1; metric = $7 }
            END { print dev }' /proc/net/route
    fi
}

# The address to use, of the lines of `addresses`; nothing where none fits. Bridges of container engines have the
# same address on every host: they are never chosen unasked.
choose() {
    WANTED=$1 ROUTE=$2 awk '
        function number(quad,  part) {
            split(quad, part, ".")
            return ((part[1] * 256 + part[2]) * 256 + part[3]) * 256 + part[4]
        }
        function inside(address, cidr,  part, size) {
            split(cidr, part, "/")
            size = 2 ^ (32 - (part[2] == "" ? 32 : part[2]))
            return int(number(address) / size) == int(number(part[1]) / size)
        }
        BEGIN {
            wanted = ENVIRON["WANTED"]
            by_network = wanted ~ /^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(\/[0-9]+)?$/
            split(ENVIRON["ROUTE"], route, " ")
        }
        function rank(device, address) {
            if (wanted != "") return (by_network ? inside(address, wanted) : device == wanted) ? 3 : 0
            if (address == route[2]) return 3
            if (device == route[1]) return 2
            return device !~ /^(docker|br-|cni|flannel|cali|veth|virbr|lxcbr|lxdbr|nomad)/
        }
        { split($2, part, "/"); r = rank($1, part[1]); if (r > best) { best = r; chosen = part[1] } }
        END { print chosen }'
}

# "FREE_MIB MOUNT_POINT" of that data directory which has the least room.
least_room() {
    if [ -s data_dir ]; then cat data_dir; else echo /var/lib; fi | while IFS= read -r dir; do
        while [ ! -d "$dir" ]; do dir=$(dirname "$dir"); done
        df -Pk "$dir" | awk 'NR == 2 { print int($4 / 1024), $6 }'
    done | sort -n | head -n 1
}

# The ports on which a program listens, each with "loopback" where it is reached there.
listening_ports() {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '
        function hex(text,  n, i) {
            for (i = 1; i <= length(text); i++) n = n * 16 + index("0123456789ABCDEF", substr(text, i, 1)) - 1
            return n
        }
        $4 == "0A" { split($2, at, ":"); print hex(at[2]), at[1] ~ /^0+$/ || at[1] == "0100007F" ? "loopback" : "" }'
}

busy_ports() {
    [ -s ports ] || return 0
    listening_ports | awk '
        FILENAME == "ports" { asked[$1 + 0] = 1; next }
        $1 in asked { print $1 }' ports - | sort -nu
}

loopback_ports() { listening_ports | awk '$2 == "loopback" { print $1 }' | sort -nu; }

# An installed systemd that is not PID 1 answers "offline"; a broken one may not answer at all.
systemd() {
    if [ "$(line /proc/1/comm)" != systemd ] || ! has systemctl; then echo no; return; fi
    case $(timeout 10 systemctl is-system-running 2>/dev/null || [ "$?" -ne 124 ] || echo silent) in
        silent) echo silent ;;
        '' | offline | unknown) echo no ;;
        *) echo yes ;;
    esac
}

# Asked of the program: asking the engine would start one that waits on its socket.
docker_version() {
    if has dockerd; then timeout 10 dockerd --version 2>/dev/null | sed -n 's/^Docker version \([^, ]*\).*/\1/p'; fi
}

# CAP_SYS_RESOURCE is bit 24 of the effective capabilities: the lowest bit of the seventh hexadecimal digit from the right.
raises_limits() {
    case $(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status) in
        *[13579bdf]??????) echo yes ;;
        *) echo no ;;
    esac
}

# Packages that are on hold and not there, so that they cannot be installed. Other packages have containerd too.
held_packages() {
    has dpkg-query || return 0
    # Without a pattern it leaves out what is not there.
    dpkg-query -W -f '${db:Status-Want} ${db:Status-Status} ${Package}\n' '*' |
        awk '$1 == "hold" && $2 != "installed" { print $3 }' |
        while read -r package; do [ "$package" = containerd ] && has containerd || echo "$package"; done
}

# "CIDR DEVICE" of each network that the host has a way to, but for the whole world, and "ADDRESS nameserver".
routes() {
    if has ip; then
        ip -o -4 route show | awk '
            $1 == "default" { next }
            { at = $1 ~ /^[a-z]+$/ ? 2 : 1; device = at == 2 ? $1 : "?" }
            { for (i = 1; i < NF; i++) if ($i == "dev") device = $(i + 1); print $at, device }'
    else
        awk '
            function hex(text,  n, i) {
                for (i = 1; i <= 8; i++) n = n * 16 + index("0123456789ABCDEF", substr(text, i, 1)) - 1
                return n
            }
            function quad(n,  text, i) {
                for (i = 0; i < 4; i++) { text = text (i ? "." : "") n % 256; n = int(n / 256) }
                return text
            }
            FNR > 1 && $2 != "00000000" {
                mask = $8; gsub(/[0.]/, "", mask); bits = 0
                for (n = hex($8); n > 0; n = int(n / 2)) bits += n % 2
                print quad(hex($2)) "/" bits, $1
            }' /proc/net/route
    fi
    cat /etc/resolv.conf /run/systemd/resolve/resolv.conf 2>/dev/null |
        awk '$1 == "nameserver" && $2 ~ /^[0-9.]+$/ && $2 !~ /^127\./ && !seen[$2]++ { print $2, "nameserver" }'
}

# What is left of an engine of ours that was started here once: all that it needs; too little, though the engine still knows
# this host by it (damaged); or not even that (wiped).
engine() {
    folder=/etc/cloudmesh/cluster
    if [ ! -e /var/lib/cloudmesh/host/started ]; then
        echo none
    elif [ -e /var/lib/cloudmesh/kubernetes ] && [ ! -e /etc/kubernetes/kubelet.conf ]; then
        echo wiped
    elif [ ! -e $folder/marker.json ] || [ ! -e $folder/ca.pem ] || [ ! -e $folder/host.pem ] || [ ! -e $folder/host-key.pem ]; then
        echo damaged
    elif grep -qs '"role": "server"' $folder/marker.json && [ ! -e $folder/secrets.json ]; then
        echo damaged
    else
        echo started
    fi
}

yes_if() { if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi; }

fact clock "$(date +%s.%N)"
fact machine_id "$(machine_id)"
fact hostname "$(uname -n)"
fact os "$(os)"
fact arch "$(arch)"
fact cores "$(nproc)"
fact memory_mb "$(awk '$1 == "MemTotal:" { print int($2 / 1024) }' /proc/meminfo)"
fact root "$(yes_if [ "$(id -u)" -eq 0 ])"
fact apt "$(yes_if has apt-get)"
fact systemd "$(systemd)"
fact docker "$(docker_version)"
fact raises_limits "$(raises_limits)"
fact engine "$(engine)"
fact cgroup "$(if [ -f /sys/fs/cgroup/cgroup.controllers ]; then echo 2; else echo 1; fi)"

if grep -qsv '^/' data_dir; then fail "the data directory '$(grep -v '^/' data_dir | head -n 1)' is not an absolute path"; fi
room=$(least_room)
fact disk_free_mb "${room%% *}"
fact disk "${room#* }"

# A line break within JSON is never part of a value. An empty file is a damaged marker, and not a host of no cluster.
marker=/etc/cloudmesh/cluster/marker.json
[ -e "$marker" ] || marker=/var/lib/cloudmesh/host/marker.json
if [ -e "$marker" ]; then text=$(tr '\r\n' '  ' <"$marker"); else text=none; fi
fact marker "${text:-empty}"
for port in $(busy_ports); do fact busy_ports "$port"; done
for port in $(loopback_ports); do fact loopback_ports "$port"; done
routes | while read -r route; do fact route "$route"; done
for package in $(held_packages); do fact held "$package"; done

all=$(addresses)
interface=$(line interface)
address=$(printf '%s\n' "$all" | choose "$interface" "$(default_route)")
if [ -n "$interface" ] && [ -z "$address" ]; then
    fail "no IPv4 address matches --interface '$interface'; there are: $(printf '%s\n' "$all" | paste -s -d ,)"
fi
fact address "$address"
printf '%s\n' "$all" | while read -r one; do fact addresses "$one"; done
