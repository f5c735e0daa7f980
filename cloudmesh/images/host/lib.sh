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

# Those of which there is more than their configuration: a host that died may have left some half-installed. A list that
# could not be read is not an empty one: all that it lacks would count as ours, and be removed with the cluster.
installed_packages() {
    listed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n') || fail "dpkg-query does not list the packages: see dpkg --audit"
    listed=$(printf '%s\n' "$listed" | sed -n 's/^.[HUFWti]. *//p' | LC_ALL=C sort)
    [ -n "$listed" ] || fail "dpkg-query lists no packages: see dpkg --audit"
    printf '%s\n' "$listed"
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
    keep modules modules
    [ -e "$STATE/packages.ours" ] || keep packages.before installed_packages
    keep firewall firewall
}

# keep NAME COMMAND...: what the command says now, unless it is kept already. A list that a full disk cut short would make
# the host's own packages ours to remove.
keep() {
    file=$STATE/$1
    if [ -e "$file" ]; then return 0; fi
    shift
    # What fails has said why, into the file.
    ("$@") >"$file.new" || fail "what the host is like cannot be kept: $(sed -n 's/^::fail //p' "$file.new")"
    mv "$file.new" "$file"
}

# The kernel's, where it has any.
modules() { cut -d ' ' -f 1 /proc/modules 2>/dev/null || true; }

accounts() { cut -d: -f1 /etc/passwd /etc/group | LC_ALL=C sort -u; }

# Every policy, chain and rule, as "TOOL TABLE -A CHAIN ...".
firewall() {
    for tool in iptables ip6tables; do
        command -v "$tool" >/dev/null || continue
        for table in filter nat raw mangle; do rules_of "$tool" "$table"; done
    done
}

# rules_of TOOL TABLE. A kernel may lack a table; one that somebody else is at work on is not an empty one.
rules_of() {
    if rules=$("$1" -w 30 -t "$2" -S 2>&1); then
        printf '%s\n' "$rules" | sed "s/^/$1 $2 /"
    elif [ "$?" -eq 4 ]; then
        fail "the rules of the firewall cannot be read: $rules"
    fi
}

apt_get() {
    printf '== %s\n' "$*" >>"$STATE/apt.log"
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@" >>"$STATE/apt.log" 2>&1
}

# The last errors of the last run of apt, which name the mirror, the full disk, or the process that holds a lock.
apt_errors() {
    sed -n '/^== /h; /^== /!H; ${ x; p; }' "$STATE/apt.log" | grep -E '^(E:|dpkg: error)' | tail -n 2 | tr '\n' ' '
}

apt_or_fail() {
    apt_get "$@" || fail "apt-get $1 failed: $(apt_errors)"
}

# Reads what the sources offer. Another apt that does the same is waited for, which no option of apt does. A source that is
# broken does not count where others have the packages: it is told, and the installation shows whether they have.
update_sources() {
    waited=0
    while ! apt_get update; do
        errors=$(apt_errors)
        case $errors in *lists/lock*) ;; *) break ;; esac
        [ "$waited" -lt 120 ] || fail "apt-get update failed: $errors"
        [ "$waited" -gt 0 ] || note "waiting for another apt: $errors"
        sleep 1
        waited=$((waited + 1))
        errors=
    done
    [ -z "${errors:-}" ] || note "apt-get update: $errors"
}

install_packages() {
    missing=
    for package in "$@"; do has_package "$package" || missing="$missing $package"; done
    if [ -n "$missing" ]; then
        step "install$missing"
        # A run that was cut off may have left packages unpacked and not configured, and what they need not even unpacked.
        broken=
        dpkg --configure -a >>"$STATE/apt.log" 2>&1 || broken=yes
        update_sources
        if [ -n "$broken" ]; then apt_get --fix-broken --no-remove --no-install-recommends install || true; fi
        # shellcheck disable=SC2086 # a list of package names
        apt_or_fail install --no-install-recommends $missing
    fi
    if [ -e "$STATE/packages.before" ]; then
        our_packages | LC_ALL=C sort -u >"$STATE/packages.new"
        mv "$STATE/packages.new" "$STATE/packages.ours"
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
    place etc/marker.json "$STATE/marker.json" 600 || true
    place_all etc "$CONFIG" 600
    place_all names "$CONFIG/names" 600
    place_all units "$UNITS" 644
    systemctl daemon-reload
    name_servers
    if [ -e "$UNITS/cloudmesh-barred.service" ]; then systemctl enable --quiet cloudmesh-barred.service; fi
}

# Puts certificates, and what goes with them, into the place of those that are there: all of them are written before the
# first is moved, so that a certificate and its key belong together but for an instant.
place_certificates() {
    for file in etc/*; do
        name=$(basename "$file")
        why=$({ cp "$file" "$CONFIG/$name.new" && chmod 600 "$CONFIG/$name.new"; } 2>&1) || {
            rm -f "$CONFIG"/*.new
            fail "could not write $CONFIG/$name: $why"
        }
    done
    for file in etc/*; do mv "$CONFIG/$(basename "$file").new" "$CONFIG/$(basename "$file")"; done
}

# The registry reads certificates when it starts; those that pull from it ask again.
restart_registry() {
    [ -e "$UNITS/cloudmesh-registry.service" ] || return 0
    step "restart the registry"
    set -- cloudmesh-registry.service
    if [ -e "$UNITS/cloudmesh-registry-writer.service" ]; then set -- "$@" cloudmesh-registry-writer.service; fi
    systemctl restart "$@" || fail "the registry did not start: $(journal cloudmesh-registry)"
    wait_for 30 registry_listens || fail "the registry does not answer: $(journal cloudmesh-registry)"
    await_writer
}

registry_listens() { listens "$(registries | head -n 1):$(sed "s|.*:||" registry)"; }

# Servers have a second one, for those who may write: the operator pushes to it at once.
await_writer() {
    [ -e "$UNITS/cloudmesh-registry-writer.service" ] || return 0
    wait_for 30 writer_listens || fail "the registry takes nothing: $(journal cloudmesh-registry-writer)"
}

writer_listens() { listens "$(sed -n 's/.*"addr": *"\([^"]*\)".*/\1/p' "$CONFIG/registry-writer.yml" | head -n 1)"; }

# listens ADDRESS:PORT: something there speaks TLS, whatever it says, and be it that a certificate has expired.
listens() {
    curl --silent --insecure --max-time 5 --noproxy '*' -o /dev/null "https://$1/v2/" || [ "$?" -ne 7 ]
}

# Has /etc/hosts give the names by which this host reaches the servers, now and from each boot on; see names.sh.
name_servers() {
    why=$(sh "$CONFIG/names.sh" set 2>&1) || fail "the names of the servers could not be written to /etc/hosts: $why"
    systemctl enable --quiet cloudmesh-names.service
}

start_registry() {
    step "start the registry"
    mkdir -p "$REGISTRY_DATA"
    chmod 700 "$REGISTRY_DATA"
    set --
    for unit in "$UNITS"/cloudmesh-registry*.service; do set -- "$@" "$(basename "$unit")"; done
    systemctl enable --quiet "$@"
    systemctl start "$@"
    wait_for 30 registry_answers || fail "the registry did not start: $(journal cloudmesh-registry)"
    await_writer
}

# The one of this server.
registry_answers() { ask_registry "$(registries | head -n 1)" /v2/ -o /dev/null; }

# curl against the cluster's registry, with this host's certificate; the next server is asked where one is silent or has not
# what is wanted: registry_get PATH [CURL OPTION...]
registry_get() {
    path=$1
    shift
    code=1
    for server in $(registries); do
        if ask_registry "$server" "$path" "$@"; then return 0; else code=$?; fi
        # This host could not write it.
        [ "$code" -ne 23 ] || break
    done
    return "$code"
}

# The addresses of the servers; on a server its own is the first.
registries() { cat "$CONFIG/names/$(sed 's/:.*//' registry)"; }

# ask_registry SERVER PATH [CURL OPTION...]
ask_registry() {
    at=$1 url=https://$(cat registry)$2
    shift 2
    curl --silent --show-error --fail --connect-timeout 5 --max-time 300 --cacert "$CONFIG/ca.pem" --cert "$CONFIG/host.pem" \
        --key "$CONFIG/host-key.pem" --noproxy '*' --connect-to "::$at:" "$url" "$@"
}

# From now on, an engine that is silent here is one that was started, and not one that a command never got to.
engine_started() { touch "$STATE/started"; }

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
