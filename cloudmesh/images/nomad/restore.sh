#!/bin/sh
# Puts a snapshot in the place of the state of the Nomad that answers on this host, and has that forget all nodes of the
# snapshot, with their host volumes: restore.sh SNAPSHOT SECRET
#
# SECRET is the file with which this Nomad was bootstrapped; the token in it must be that of the snapshot, too. The tasks
# that ran on the nodes are lost, which Nomad says of them, and starts them elsewhere by the rules of their jobs.
set -eu

snapshot=$1 secret=$2
answer=$PWD/answer

# api PATH [OPTION OF CURL]: the answer, on stdout. What Nomad has no more (404) is as well.
api() {
    path=$1
    shift
    code=$(sed -n 's/.*"BootstrapSecret": *"\([^"]*\)".*/X-Nomad-Token: \1/p' "$secret" |
        curl --silent --show-error --max-time 600 --noproxy '*' --header @- --output "$answer" --write-out '%{http_code}' \
            "$@" "http://127.0.0.1:4646/v1/$path")
    case $code in
        200) cat "$answer" ;;
        404) ;;
        *) echo "Nomad: $(head -c 300 "$answer" | tr '\n' ' ')(HTTP $code)" >&2 && return 1 ;;
    esac
}

api operator/snapshot --upload-file "$snapshot" >&2
volumes=$(api 'volumes?type=host')
for id in $(printf '%s' "$volumes" | grep -o '"ID":"[0-9a-f-]*"' | cut -d '"' -f 4); do
    api "volume/host/$id?force=true" --request DELETE >&2
done
nodes=$(api nodes)
# Within a node, host volumes have an ID, too.
for id in $(printf '%s' "$nodes" | grep -o '"ID":"[0-9a-f-]*","LastDrain"' | cut -d '"' -f 4); do
    api "node/$id/purge" --request POST >&2
done
left=$(api nodes)
case $left in '[]' | null) ;; *) echo "Nomad: it has not forgotten the nodes: $(printf '%s' "$left" | head -c 300)" >&2 && exit 1 ;; esac
