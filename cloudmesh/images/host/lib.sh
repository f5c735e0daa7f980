# Shared by the host scripts (nomad/build.sh, kubernetes/walkthrough.sh); sent in front of them over SSH.
# Inputs are files in the current directory, put there from standard input. Every function may be run again.
# shellcheck shell=sh
set -eu

CONFIG=/etc/cloudmesh/cluster
STATE=/var/lib/cloudmesh/host
REGISTRY_DATA=/var/lib/cloudmesh/registry
BIN=/opt/cloudmesh/bin
UNITS=/etc/systemd/system

step() { printf '::step %s\n' "$*"; }
note() { printf '::note %s\n' "$*"; }
fact() { printf '::fact %s %s\n' "$1" "$2"; }
fail() {
    printf '::fail %s\n' "$*"
    exit 1
}

# One script at a time: what a command that was cut off left running here comes to its end first. What is locked is a
# folder that is there anyhow, so that no file of the lock is left.
alone() {
    exec 8<"$UNITS"
    if flock -n 8; then return 0; fi
    step "wait for what an earlier command still does here"
    flock -w 600 8 || fail "what an earlier command began here has not ended in 600 s: see its processes (ps axf)"
}

has_package() { dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^ii'; }

# Those of which there is more than their configuration: a host that died may have left some half-installed.
installed_packages() {
    dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' | sed -n 's/^.[HUFWti]. *//p' | LC_ALL=C sort
}

# Folders that packages of ours fill; a host may have had them, be it as mount points.
PLACES="/etc/docker /etc/docker/certs.d /etc/cni /etc/cni/net.d /opt/containerd /opt/cloudmesh /var/lib/docker /var/lib/containerd /var/lib/cloudmesh"

# What was there before is kept until the list of what we added is complete: an interrupted installation can be undone too.
remember_host() {
    # shellcheck disable=SC2086 # a list of paths
    places=$(stat -c '%a %u:%g %n' $PLACES 2>/dev/null || true)
    mkdir -p "$STATE"
    chmod 700 /var/lib/cloudmesh "$STATE"
    keep places printf '%s\n' "$places"
    keep ip_forward cat /proc/sys/net/ipv4/ip_forward
    keep accounts accounts
    [ -e "$STATE/packages.ours" ] || keep packages.before installed_packages
    keep firewall firewall
}

# keep NAME COMMAND...: what the command says now, unless it is kept already. A list that a full disk cut short would make
# the host's own packages ours to remove.
keep() {
    file=$STATE/$1
    if [ -e "$file" ]; then return 0; fi
    shift
    "$@" >"$file.new"
    mv "$file.new" "$file"
}

accounts() { cut -d: -f1 /etc/passwd /etc/group | LC_ALL=C sort -u; }

# Every policy, chain and rule, as "TOOL TABLE -A CHAIN ...".
firewall() {
    for tool in iptables ip6tables; do
        command -v "$tool" >/dev/null || continue
        for table in filter nat raw mangle; do "$tool" -t "$table" -S 2>/dev/null | sed "s/^/$tool $table /"; done
    done
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@" >>"$STATE/apt.log" 2>&1
}

# Fails with apt's own last error, which names the mirror or the full disk.
apt_or_fail() {
    apt_get "$@" || fail "apt-get $1 failed: $(grep -E '^(E:|dpkg: error)' "$STATE/apt.log" | tail -n 2 | tr '\n' ' ')"
}

install_packages() {
    missing=
    for package in "$@"; do has_package "$package" || missing="$missing $package"; done
    if [ -n "$missing" ]; then
        step "install$missing"
        # A run that was cut off may have left packages unpacked and not configured.
        dpkg --configure -a >>"$STATE/apt.log" 2>&1 || true
        apt_or_fail update
        # shellcheck disable=SC2086 # a list of package names
        apt_or_fail install --no-install-recommends $missing
    fi
    if [ -e "$STATE/packages.before" ]; then
        keep packages.ours our_packages
        rm "$STATE/packages.before"
    fi
}

# Installs the file $1 as $2 with mode $3; says by its status whether anything changed. It is called in conditions, where
# the shell looks at no error by itself.
place() {
    if cmp -s "$1" "$2"; then return 1; fi
    why=$({ mkdir -p "$(dirname "$2")" && cp "$1" "$2.new" && chmod "$3" "$2.new" && mv "$2.new" "$2"; } 2>&1) || {
        rm -f "$2.new"
        fail "could not write $2: $why"
    }
}

# Puts every file of the folder $1 into the folder $2 with mode $3.
place_all() {
    [ -d "$1" ] || return 0
    for file in "$1"/*; do
        place "$file" "$2/$(basename "$file")" "$3" || true
    done
}

place_configuration() {
    mkdir -p "$CONFIG"
    chmod 700 /etc/cloudmesh "$CONFIG"
    place_all etc "$CONFIG" 600
    place_all units "$UNITS" 644
    systemctl daemon-reload
}

start_registry() {
    step "start the registry"
    mkdir -p "$REGISTRY_DATA"
    chmod 700 "$REGISTRY_DATA"
    systemctl enable --quiet cloudmesh-registry.service
    systemctl start cloudmesh-registry.service
    wait_for 30 registry_answers || fail "the registry did not start: $(journal cloudmesh-registry)"
}

registry_answers() { registry_get /v2/ -o /dev/null; }

# curl against the cluster's registry, with this host's certificate: registry_get PATH [CURL OPTION...]
registry_get() {
    path=$1
    shift
    curl --silent --show-error --fail --max-time 300 --cacert "$CONFIG/ca.pem" --cert "$CONFIG/host.pem" \
        --key "$CONFIG/host-key.pem" --noproxy '*' "https://$(cat registry)$path" "$@"
}

# Fetches the engine's files, named with their SHA-256 in the input `engine`, from the cluster's registry.
fetch_engine() {
    mkdir -p "$BIN"
    chmod 755 /opt/cloudmesh "$BIN"
    while read -r sum name; do fetch_file "$sum" "$BIN/$name"; done <engine
}

# A broken file never takes the place of a good one.
fetch_file() {
    if [ "$(sha256 "$2")" = "$1" ]; then return 0; fi
    step "fetch $(basename "$2")"
    why=$(registry_get "/v2/cloudmesh/engine/blobs/sha256:$1" -o "$2.new" 2>&1) || could_not_fetch "$2" "$?" "$why"
    if [ "$(sha256 "$2.new")" != "$1" ]; then
        rm -f "$2.new"
        fail "$(basename "$2") from the registry at $(cat registry) has a wrong checksum; it was deleted"
    fi
    chmod 755 "$2.new"
    mv "$2.new" "$2"
}

# could_not_fetch FILE STATUS WHY: by curl's status and words. 23: the file could not be written.
could_not_fetch() {
    why=$3
    if [ "$2" -eq 23 ]; then
        why="it cannot be written, $(df -Pm "$BIN" | awk 'NR == 2 { print $4 }') MiB are free in $BIN: make room there"
    fi
    rm -f "$1.new"
    fail "could not fetch $(basename "$1") from the registry at $(cat registry): $why"
}

sha256() { if [ -e "$1" ]; then sha256sum "$1" | cut -d ' ' -f 1; fi; }

journal() { journalctl --quiet --no-pager --output=cat --lines=3 --unit="$1" 2>/dev/null | tr '\n' ' '; }

# wait_for SECONDS COMMAND...: whether the command succeeds within that time.
wait_for() {
    deadline=$(($(date +%s) + $1))
    shift
    until "$@" 2>/dev/null; do
        [ "$(date +%s)" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

# --- leaving the host as it was ------------------------------------------------------------------------------------

stop_units() {
    for unit in "$UNITS"/cloudmesh-*.service; do
        [ -e "$unit" ] || continue
        systemctl disable --quiet --now "$(basename "$unit")" 2>/dev/null || true
        rm -f "$unit"
    done
    systemctl daemon-reload
}

our_packages() {
    cat "$STATE/packages.ours" 2>/dev/null || true
    [ ! -e "$STATE/packages.before" ] || installed_packages | LC_ALL=C comm -23 - "$STATE/packages.before"
}

is_ours() { our_packages | grep -qx "$1"; }

# Packages that something of the user's has come to need since are kept, and named.
purge_packages() {
    packages=$(our_packages | tr '\n' ' ')
    [ -n "$packages" ] || return 0
    # shellcheck disable=SC2086 # a list of package names
    others=$(apt-get -s purge $packages | sed -n 's/^Purg \([^ ]*\).*/\1/p' | while read -r p; do is_ours "$p" || echo "$p"; done)
    if [ -n "$others" ]; then
        note "packages kept, because $(echo "$others" | tr '\n' ' ')needs them: $packages"
        return 0
    fi
    # What a host that died has left unpacked can neither be configured nor, unforced, be removed.
    dpkg --configure -a >>"$STATE/apt.log" 2>&1 || true
    # shellcheck disable=SC2086
    apt_or_fail purge -o DPkg::Options::=--force-remove-reinstreq $packages
}

# Accounts that the packages made stay behind on a purge.
remove_accounts() {
    [ -e "$STATE/accounts" ] || return 0
    for account in docker docker-registry; do
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

# The places of the list $1, "MODE OWNER PATH" a line, as they were.
restore_places() {
    printf '%s\n' "$1" | while read -r mode owner path; do
        [ -n "$path" ] || continue
        mkdir -p "$path"
        chown "$owner" "$path"
        chmod "$mode" "$path"
    done
}

remove_link() { if [ -e "/sys/class/net/$1" ]; then ip link delete "$1"; fi; }

# Lines of `firewall` that match the pattern and were not there before: added_to_firewall TOOL TABLE PATTERN
added_to_firewall() {
    "$1" -t "$2" -S 2>/dev/null | sed "s/^/$1 $2 /" | grep -E "$3" | grep -vxF -f "$STATE/firewall" | cut -d ' ' -f 3-
}

# Removes what was added to one table and matches the pattern: clean_table TOOL TABLE PATTERN
clean_table() {
    added_to_firewall "$@" | sed -n 's/^-A/-D/p' | while read -r rule; do
        # shellcheck disable=SC2086 # the rule's words
        eval "$1 -t $2 $rule" 2>/dev/null || true
    done
    chains=$(added_to_firewall "$@" | sed -n 's/^-N //p')
    for chain in $chains; do "$1" -t "$2" -F "$chain"; done
    for chain in $chains; do "$1" -t "$2" -X "$chain"; done
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
        for chain in $(empty_chains "$family" "$table"); do nft delete chain "$family" "$table" "$chain"; done
        nft list table "$family" "$table" | grep -qvE '^(table|}|#|$)' || nft delete table "$family" "$table"
    done
}

# Chains of the kernel's that accept everything, and say so by their policy alone.
empty_chains() {
    nft list table "$1" "$2" | awk '
        $1 == "chain" { name = $2; idle = 0; next }
        $1 == "type" { idle = /policy accept;/; next }
        $1 == "}" { if (name && idle) print name; name = ""; next }
        { idle = 0 }'
}

restore_forwarding() {
    [ ! -e "$STATE/ip_forward" ] || cat "$STATE/ip_forward" >/proc/sys/net/ipv4/ip_forward 2>/dev/null || true
}
