# Brings places for data to this host, or takes them away from it; what is in them is left alone: storage.sh VERB, as root.
# Sent behind lib.sh and clean.sh, whose names it uses.
#
#   add     directories are made where they are missing, NFS exports are mounted, now and at every start
#   remove  mounts go, and directories that `add` made and that are empty
#
# Inputs: places (lines "NAME directory PATH" or "NAME nfs SERVER:/PATH"), forbidden (paths that no place may lead to).
# shellcheck shell=sh
# shellcheck source=cloudmesh/images/host/clean.sh
if ! command -v leave_place >/dev/null; then . "$(dirname "$0")/clean.sh"; fi

add() {
    mkdir -p "$STATE/storage"
    while read -r name kind what; do
        step "storage $name"
        case $kind in
            directory) add_directory "$name" "$what" ;;
            nfs) add_mount "$name" "$what" ;;
        esac
    done <places
}

remove() {
    while read -r name kind what; do
        step "remove storage $name"
        leave_place "$name"
    done <places
    rmdir "$STATE/storage" 2>/dev/null || true
}

add_directory() {
    refuse_forbidden "$1" "$2"
    [ ! -e "$2" ] || [ -d "$2" ] || fail "storage $1: $2 is there and is no directory"
    record=$STATE/storage/$1
    # Before it is made: what a run that is cut off has made is ours, too.
    missing "$2" >>"$record"
    (umask 022 && mkdir -p "$2") || fail "storage $1: $2 cannot be made"
    if grep -qxF "made $2" "$record"; then chmod 1777 "$2"; fi
    check_writable "$1" "$2"
    # Jobs do not run as root.
    [ -n "$(find "$2/" -maxdepth 0 -perm -o+w)" ] ||
        note "storage $1: $2 was there and belongs to $(stat -c %U "$2"); jobs of other users cannot write to it"
}

# Where links on this host lead is known only here.
refuse_forbidden() {
    real=$(readlink -m "$2")
    while read -r path; do
        case $real/ in "$path"/*) fail "storage $1: $2 leads to $real, which is the system's" ;; esac
        case $path/ in "$real"/*) fail "storage $1: $2 leads to $real, which holds $path" ;; esac
    done <forbidden
}

# Lines "made PATH" for each directory on the way to $1 that is not there, the outermost first.
missing() {
    if [ -d "$1" ]; then return 0; fi
    missing "$(dirname "$1")"
    printf 'made %s\n' "$1"
}

check_writable() {
    probe=$2/.cms-$$
    why=$({ : >"$probe" && rm "$probe"; } 2>&1) || fail "storage $1: $2 cannot be written to: ${why##*: }"
}

add_mount() {
    install_nfs
    where=$STORAGE/$1
    unit=$(systemd-escape --path "$where")
    printf 'mount %s\n' "$unit" >"$STATE/storage/$1"
    mkdir -p "$where"
    mount_unit "$1" "$2" "$where" >"$unit.mount"
    automount_unit "$1" "$where" >"$unit.automount"
    place "$unit.automount" "$UNITS/$unit.automount" 644 || true
    if place "$unit.mount" "$UNITS/$unit.mount" 644; then
        systemctl daemon-reload
        systemctl stop "$unit.automount" "$unit.mount" 2>/dev/null || true
    fi
    systemctl enable --quiet --now "$unit.automount"
    if ! systemctl start "$unit.mount" 2>/dev/null; then
        why=$(journalctl --quiet --no-pager --output=cat --lines=20 --unit="$unit.mount" | grep '^mount' | tail -n 1)
        leave_place "$1"
        fail "storage $1: $2 cannot be mounted: ${why:-see journalctl --unit=$unit.mount there}"
    fi
    timeout 30 stat "$where/." >/dev/null 2>&1 || fail "storage $1: $2 is mounted, but its server does not answer"
    if ! timeout 30 sh -c ": >'$where/.cms-$$' && rm '$where/.cms-$$'" 2>/dev/null; then
        note "storage $1: root cannot write to $2 here; jobs can if the server lets their users (uid 185 for ours)"
    fi
}

# Every attempt may be the one that succeeds: there is no limit to their number.
mount_unit() {
    cat <<EOF
[Unit]
Description=cms cluster: storage $1
StartLimitIntervalSec=0

[Mount]
What=$2
Where=$3
Type=nfs
Options=vers=4,_netdev,nosuid,nodev
TimeoutSec=30
EOF
}

# Mounted when a task comes to it, at every start anew: the server may be up later than this host. A task that comes
# before that fails, and never writes to what is beneath.
automount_unit() {
    cat <<EOF
[Unit]
Description=cms cluster: storage $1

[Automount]
Where=$2

[Install]
WantedBy=remote-fs.target
EOF
}

# Version 4 of NFS needs none of the services that come with the package, which would listen on the network.
install_nfs() {
    if has_package nfs-common; then return 0; fi
    for unit in rpcbind.service rpcbind.socket; do
        [ -e "$UNITS/$unit" ] || has_package rpcbind || {
            printf '%s\n' "$unit" >>"$STATE/masked.storage"
            ln -s /dev/null "$UNITS/$unit"
        }
    done
    systemctl daemon-reload
    # What is installed from here on is ours, too, and goes with the rest.
    keep packages.before installed_packages
    install_packages nfs-common
}

case ${1:-} in
    add | remove) alone; "$1" ;;
    *) fail "unknown verb '${1:-}': add or remove" ;;
esac
