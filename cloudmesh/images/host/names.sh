# Keeps in /etc/hosts the names by which this host reaches the cluster's servers. A file in /etc/cloudmesh/cluster/names has
# such a name, and lists its addresses, those first that are asked first. By the verb:
#
#   set     each of these names has these addresses, and no others
#   clear   takes the names away
#
# In a container the file is mounted: it is overwritten, never replaced. Docker makes it anew when a container starts, as
# cloud-init does on some machines: cloudmesh-names.service sets the names at each boot.
# shellcheck shell=sh
set -eu
folder=/etc/cloudmesh/cluster
hosts=/etc/hosts

# The lines of others.
others() {
    awk -v names="$(ls "$folder/names" 2>/dev/null)" 'BEGIN { split(names, list); for (i in list) ours[list[i]] } !($NF in ours)' "$hosts"
}

ours() {
    for file in "$folder/names"/*; do
        [ ! -e "$file" ] || sed "s/\$/ $(basename "$file")/" "$file"
    done
}

# What a full disk cuts short is our copy.
write() {
    if [ "$1" = "$(cat "$hosts")" ]; then return 0; fi
    printf '%s\n' "$1" >"$folder/hosts.new"
    cat "$folder/hosts.new" >"$hosts"
    rm "$folder/hosts.new"
}

case ${1:-} in
    set) lines=$(others && ours) ;;
    clear) lines=$(others) ;;
    *) printf "unknown verb '%s': set or clear\n" "${1:-}" >&2 && exit 1 ;;
esac
write "$lines"
