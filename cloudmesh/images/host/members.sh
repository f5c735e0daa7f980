# Keeps on a server which hosts were given something of the cluster, so that `kill` finds them where the engine is silent.
# By the verb: `add` (input members, "ADDRESS JSON" a line), `drop` (input members, an address a line), `list`.
# Prints for `list` "::fact member ADDRESS JSON" for each host, or "::fact member none", and whether an engine was started.
# shellcheck shell=sh
set -eu
folder=/etc/cloudmesh/cluster
file=$folder/hosts

others() {
    [ ! -e "$file" ] || awk 'FILENAME == "members" { named[$1] = 1; next } !($1 in named)' members "$file"
}

# A server that failed before it got its marker is none yet.
add() {
    [ -e "$folder/marker.json" ] || return 0
    { others && cat members; } >"$file.new"
    mv "$file.new" "$file"
}

drop() {
    [ -e "$file" ] || return 0
    others >"$file.new"
    mv "$file.new" "$file"
}

list() {
    if [ -s "$file" ]; then sed 's/^/::fact member /' "$file"; else echo '::fact member none'; fi
    if [ -e /var/lib/cloudmesh/host/started ]; then echo '::fact engine started'; else echo '::fact engine none'; fi
}

umask 077
case ${1:-} in
    add | drop | list) "$1" ;;
    *) printf "::fail unknown verb '%s': add, drop or list\n" "${1:-}" && exit 1 ;;
esac
