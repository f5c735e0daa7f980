# Leaving a host as it was: shared by the host scripts, and sent behind lib.sh, whose names it uses.
# shellcheck shell=sh
# shellcheck source=cloudmesh/images/host/lib.sh
if ! command -v place_configuration >/dev/null; then . "$(dirname "$0")/../host/lib.sh"; fi

STORAGE=/var/lib/cloudmesh/storage

stop_units() {
    for unit in "$UNITS"/cloudmesh-*.service; do
        [ -e "$unit" ] || continue
        systemctl disable --quiet --now "$(basename "$unit")" 2>/dev/null || true
        rm -f "$unit"
    done
    systemctl daemon-reload
}

# Before the configuration goes.
forget_names() { [ ! -e "$CONFIG/names.sh" ] || sh "$CONFIG/names.sh" clear; }

bar_nobody() { [ ! -e "$CONFIG/barred.sh" ] || sh "$CONFIG/barred.sh" clear; }

our_packages() {
    cat "$STATE/packages.ours" 2>/dev/null || true
    [ -e "$STATE/packages.before" ] || return 0
    now=$(installed_packages) || fail "$(printf '%s\n' "$now" | sed -n 's/^::fail //p')"
    printf '%s\n' "$now" | LC_ALL=C comm -23 - "$STATE/packages.before"
}

is_ours() { our_packages | grep -qx "$1"; }

# Packages that something of the user's has come to need since are kept, and named.
purge_packages() {
    packages=$(our_packages) || fail "$(printf '%s\n' "$packages" | sed -n 's/^::fail //p')"
    packages=$(printf '%s\n' "$packages" | tr '\n' ' ')
    [ -n "${packages% }" ] || return 0
    # What a host that died has left unpacked can neither be configured nor, unforced, be removed.
    dpkg --configure -a >>"$STATE/apt.log" 2>&1 || true
    # shellcheck disable=SC2086 # a list of package names
    set -- -o DPkg::Options::=--force-remove-reinstreq $packages
    would_go=$(apt-get -s purge "$@" 2>&1) ||
        fail "apt-get does not say what would go with our packages: $(printf '%s\n' "$would_go" | tail -n 1)"
    others=$(printf '%s\n' "$would_go" | sed -n 's/^Purg \([^ ]*\).*/\1/p' | while read -r p; do is_ours "$p" || echo "$p"; done)
    if [ -n "$others" ]; then
        note "packages kept, because $(echo "$others" | tr '\n' ' ')needs them: $packages"
        return 0
    fi
    apt_or_fail purge "$@"
    case " $packages" in *" nfs-common "*) leave_rpc ;; esac
}

# What runs and lies in /run when nfs-common goes stays until the next boot.
leave_rpc() {
    systemctl stop rpc_pipefs.target run-rpc_pipefs.mount 2>/dev/null || true
    rmdir /run/rpc_pipefs 2>/dev/null || true
    rm -f /run/sm-notify.pid
}

# Takes a place for data away from this host, and never what is in it: leave_place NAME
leave_place() {
    record=$STATE/storage/$1
    [ -e "$record" ] || return 0
    LC_ALL=C sort -r "$record" | while read -r kind what; do
        case $kind in
            mount) leave_mount "$what" "$STORAGE/$1" ;;
            made) rmdir "$what" 2>/dev/null || true ;;
        esac
    done
    if mounted "$STORAGE/$1"; then fail "$STORAGE/$1 cannot be unmounted; nothing below it was touched"; fi
    rm -f "$record"
}

# leave_mount UNIT PATH: a server that does not answer holds up nothing. An automount that stops would detach what is
# mounted without umount, whose notes (/run/mount/utab) would keep it.
leave_mount() {
    if grep -q " $2 nfs" /proc/mounts; then detach "$2"; fi
    systemctl disable --quiet --now "$1.automount" 2>/dev/null || true
    systemctl stop "$1.mount" 2>/dev/null || true
    rm -f "$UNITS/$1.automount" "$UNITS/$1.mount"
    systemctl daemon-reload
    if mounted "$2"; then detach "$2"; fi
    rmdir "$2" 2>/dev/null || true
}

detach() { umount -f "$1" 2>/dev/null || umount -l "$1" 2>/dev/null || true; }

mounted() { grep -q " $1 " /proc/mounts; }

# Before anything is deleted: what is mounted is of others.
leave_storage() {
    for place in "$STATE/storage"/*; do
        [ ! -e "$place" ] || leave_place "$(basename "$place")"
    done
    [ -e "$STATE/masked.storage" ] || return 0
    while read -r unit; do rm -f "$UNITS/$unit"; done <"$STATE/masked.storage"
}

# Accounts that the packages made stay behind on a purge.
remove_accounts() {
    [ -e "$STATE/accounts" ] || return 0
    set -- docker docker-registry
    if is_ours nfs-common; then set -- "$@" statd _rpc; fi
    for account in "$@"; do
        grep -qx "$account" "$STATE/accounts" && continue
        userdel "$account" 2>/dev/null || true
        groupdel "$account" 2>/dev/null || true
    done
}

unmount_below() {
    # The deepest first; a path with spaces is written \040 in /proc/mounts and none of ours has any.
    cut -d ' ' -f 2 /proc/mounts | grep "^$1/" | LC_ALL=C sort -r | while read -r path; do
        umount "$path" 2>/dev/null || umount -l "$path"
    done
}

# remove_tree PATH: where it is a mount point of the host's own it is emptied, else it goes.
remove_tree() {
    [ -e "$1" ] || return 0
    unmount_below "$1"
    find "$1" -xdev -mindepth 1 -delete 2>/dev/null || rm -rf "${1:?}"/* 2>/dev/null || true
    if ! grep -q " $1 " /proc/mounts; then rm -rf "$1"; fi
}

# The places of the list $1, "MODE OWNER PATH" a line, as they were. Some may be mounted read-only, and are as they were.
restore_places() {
    printf '%s\n' "$1" | while read -r mode owner path; do
        [ -n "$path" ] || continue
        [ "$(stat -c '%a %u:%g' "$path" 2>/dev/null)" != "$mode $owner" ] || continue
        why=$({ mkdir -p "$path" && chown "$owner" "$path" && chmod "$mode" "$path"; } 2>&1) ||
            note "$path could not be made what it was before, $mode $owner: $why"
    done
}

remove_link() { if [ -e "/sys/class/net/$1" ]; then ip link delete "$1"; fi; }

# Lines of `firewall` that match the pattern and were not there before: added_to_firewall TOOL TABLE PATTERN
added_to_firewall() {
    "$1" -w 30 -t "$2" -S 2>/dev/null | sed "s/^/$1 $2 /" | grep -E "$3" | grep -vxF -f "$STATE/firewall" | cut -d ' ' -f 3-
}

# Removes what was added to one table and matches the pattern: clean_table TOOL TABLE PATTERN
clean_table() {
    added_to_firewall "$@" | sed -n 's/^-A/-D/p' | while read -r rule; do
        # shellcheck disable=SC2086 # the rule's words
        eval "$1 -w 30 -t $2 $rule" 2>/dev/null || true
    done
    chains=$(added_to_firewall "$@" | sed -n 's/^-N //p')
    for chain in $chains; do "$1" -w 30 -t "$2" -F "$chain"; done
    for chain in $chains; do "$1" -w 30 -t "$2" -X "$chain"; done
}

# Removes the rules and chains that match the pattern, but none that was there before us.
restore_firewall() {
    [ -e "$STATE/firewall" ] || return 0
    for tool in iptables ip6tables; do
        command -v "$tool" >/dev/null || continue
        for table in filter nat raw mangle; do clean_table "$tool" "$table" "$1"; done
        policy=$(sed -n "s/^$tool filter -P FORWARD //p" "$STATE/firewall")
        "$tool" -P FORWARD "${policy:-ACCEPT}" 2>/dev/null || true
    done
    drop_empty_tables
}

# iptables on nftables leaves its chains and tables behind, empty.
drop_empty_tables() {
    command -v nft >/dev/null || return 0
    nft list tables 2>/dev/null | grep -E ' ip6? (filter|nat|raw|mangle)$' | while read -r _ family table; do
        # A list that was cut off, or never came, is not an empty table.
        listed=$(nft list table "$family" "$table" 2>/dev/null) || continue
        for chain in $(printf '%s\n' "$listed" | empty_chains); do nft delete chain "$family" "$table" "$chain"; done
        listed=$(nft list table "$family" "$table" 2>/dev/null) || continue
        printf '%s\n' "$listed" | grep -qvE '^(table|}|#|$)' || nft delete table "$family" "$table"
    done
}

# Of the list of a table, the chains of the kernel's that accept everything, and say so by their policy alone.
empty_chains() {
    awk '
        $1 == "chain" { name = $2; idle = 0; next }
        $1 == "type" { idle = /policy accept;/; next }
        $1 == "}" { if (name && idle) print name; name = ""; next }
        { idle = 0 }'
}

restore_forwarding() {
    [ ! -e "$STATE/ip_forward" ] || cat "$STATE/ip_forward" >/proc/sys/net/ipv4/ip_forward 2>/dev/null || true
}

# Container engines load it: what passes a bridge then passes the firewall too. A container's kernel is also that of others.
remove_bridge_filter() {
    [ -e "$STATE/modules" ] || return 0
    if grep -qx br_netfilter "$STATE/modules" || systemd-detect-virt --quiet --container; then return 0; fi
    modprobe --quiet --remove br_netfilter 2>/dev/null || true
}
