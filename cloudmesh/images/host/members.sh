# Keeps on a server which hosts were given something of the cluster, so that `kill` finds them where the engine is silent.
# By the verb:
#   add     (input members, "ADDRESS JSON" a line; barred, an address a line) these hosts; those of barred are kept out
#   drop    (input members, an address a line) these hosts have nothing of the cluster any more
#   bar     (input members, an address a line) these hosts, which could not be cleaned, are kept out of the cluster
#   list    prints "::fact member ADDRESS JSON" for each host, or "::fact member none", whether an engine was started, and
#           "::fact barred ADDRESS" for each host that is kept out
# shellcheck shell=sh
set -eu
folder=/etc/cloudmesh/cluster
file=$folder/hosts

fail() {
    printf '::fail %s\n' "$*"
    exit 1
}

# Whoever joins, or has nothing of the cluster any more, is let in.
let_in() {
    [ -s "$folder/barred" ] || return 0
    awk 'FILENAME == "members" { named[$1] = 1; next } !($1 in named) && !seen[$1]++' members "$folder/barred" >"$folder/barred.new"
    keep_out
}

# Those of the new list, and no others.
keep_out() {
    mv "$folder/barred.new" "$folder/barred"
    why=$(sh "$folder/barred.sh" set 2>&1) || fail "hosts cannot be kept out by nftables: $why"
}

others() {
    [ ! -e "$file" ] || awk 'FILENAME == "members" { named[$1] = 1; next } !($1 in named)' members "$file"
}

# A server that failed before it got its marker is none yet.
add() {
    [ -e "$folder/marker.json" ] || return 0
    { others && cat members; } >"$file.new"
    mv "$file.new" "$file"
    if [ -s barred ]; then cat barred >>"$folder/barred"; fi
    let_in
}

bar() {
    { cat members && { [ ! -e "$folder/barred" ] || cat "$folder/barred"; }; } | sort -u >"$folder/barred.new"
    keep_out
}

drop() {
    [ -e "$file" ] || return 0
    others >"$file.new"
    mv "$file.new" "$file"
    let_in
}

list() {
    if [ -s "$file" ]; then sed 's/^/::fact member /' "$file"; else echo '::fact member none'; fi
    if [ -e /var/lib/cloudmesh/host/started ]; then echo '::fact engine started'; else echo '::fact engine none'; fi
    if [ -s "$folder/barred" ]; then sed 's/^/::fact barred /' "$folder/barred"; fi
}

umask 077
case ${1:-} in
    add | drop | bar | list) "$1" ;;
    *) fail "unknown verb '${1:-}': add, drop, bar or list" ;;
esac
