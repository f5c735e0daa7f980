#!/bin/sh
# Keeps what each task of Nomad's wrote, and removes its container then: keep-output.sh ALLOCATIONS
#
# Nomad stops reading a container's output when the container ends, whether it has read all of it or not: what a short task
# wrote, or a task's last words, may be missing from its log (hashicorp/nomad#6931). The container engine's own log has them.
set -eu

allocations=$1
# Nomad asks the engine how a container ended; after this many seconds it has.
ASKED=10
LABEL='"label":["com.hashicorp.nomad.alloc_id"]'

docker_api() {
    path=$1
    shift
    curl --silent --fail --globoff --unix-socket /var/run/docker.sock "http://docker$path" "$@"
}

# The engine's log, framed as the engine gives it, becomes output.TASK of the allocation. A task cannot write there.
keep() {
    name=$(docker_api "/containers/$1/json" | grep -o '"Name":"/[^"]*"' | head -n 1 | cut -d '"' -f 4 | cut -c 2-)
    task=${name%-????????-????-????-????-????????????}
    kept=$allocations/${name#"$task"-}/output.$task
    [ -d "$(dirname "$kept")" ] || return 0
    docker_api "/containers/$1/logs?stdout=1&stderr=1" >"$kept.new" && mv "$kept.new" "$kept"
    { sleep "$ASKED" && docker_api "/containers/$1?v=1" -X DELETE; } >/dev/null &
}

since=$(date +%s.%N)
docker_api /containers/json --get --data all=1 --data-urlencode "filters={\"status\":[\"exited\"],$LABEL}" |
    grep -o '"Id":"[0-9a-f]*"' | cut -d '"' -f 4 | while read -r id; do keep "$id" || true; done
docker_api /events --no-buffer --get --data "since=$since" \
    --data-urlencode "filters={\"type\":[\"container\"],\"event\":[\"die\"],$LABEL}" |
    while read -r event; do
        id=${event#*'"ID":"'}
        keep "${id%%'"'*}" || true
    done
