# Keeps hosts that were taken out of the cluster, and could not be cleaned, from the ports of this server: what such a host
# still has of the cluster would let it in when it comes back. By the verb:
#
#   set     the addresses in the file barred, one a line, reach none of the ports in the file barred-ports
#   clear   every address does
#
# The rules are gone after a boot: cloudmesh-barred.service sets them.
# shellcheck shell=sh
set -eu
folder=/etc/cloudmesh/cluster

rules() {
    echo 'table inet cloudmesh'
    echo 'delete table inet cloudmesh'
    [ "$1" = set ] && [ -s "$folder/barred" ] || return 0
    cat <<EOF
table inet cloudmesh {
    chain input {
        type filter hook input priority -200; policy accept;
        ip saddr { $(paste -s -d , "$folder/barred") } meta l4proto { tcp, udp } th dport { $(paste -s -d , "$folder/barred-ports") } drop
    }
}
EOF
}

case ${1:-} in
    set | clear) ;;
    *) printf "unknown verb '%s': set or clear\n" "${1:-}" >&2 && exit 1 ;;
esac
# Of a host on which nobody was ever barred, the firewall is not touched.
[ -e "$folder/barred" ] || exit 0
command -v nft >/dev/null || { echo "there is no nft: install the package nftables" >&2 && exit 1; }
rules=$(rules "$1")
printf '%s\n' "$rules" | nft -f -
