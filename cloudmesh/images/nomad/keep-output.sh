#!/bin/sh
# Saves the output of each of Nomad's tasks that ends, and then removes its container: keep-output.sh ALLOCATIONS
#
# Nomad stops reading a container's output when the container ends, whether it has read all of it or not: what a short task
# wrote, or the end of a task's output, may be missing from its log (hashicorp/nomad#6931). The Docker daemon's log has it.
# shellcheck source=cloudmesh/images/nomad/docker.sh
if ! command -v docker_api >/dev/null; then . "$(dirname "$0")/docker.sh"; fi
set -eu

allocations=$1
# Nomad asks the Docker daemon how a container ended. After this many seconds it has done so.
ASKED=10
LABEL='"label":["com.hashicorp.nomad.alloc_id"]'

# kept NAME: the file in which the output of a container of this name is saved. A task cannot write there.
kept() {
    task=${1%-????????-????-????-????-????????????}
    echo "$allocations/${1#"$task"-}/output.$task"
}

# keep ID NAME: saves the Docker daemon's log of a container that has ended, in the daemon's frames.
keep() {
    file=$(kept "$2")
    [ -d "$(dirname "$file")" ] || return 0
    docker_api "/containers/$1/logs?stdout=1&stderr=1" --max-time 0 >"$file.new" && mv "$file.new" "$file"
    { sleep "$ASKED" && docker_api "/containers/$1?v=1" -X DELETE; } >/dev/null &
}

since=$(date +%s.%N)
docker_api /containers/json --get --data all=1 --data-urlencode "filters={\"status\":[\"exited\"],$LABEL}" |
    grep -o '"Id":"[0-9a-f]*","Names":\["/[^"]*"' | sed 's|"Id":"\(.*\)","Names":\["/\(.*\)"|\1 \2|' |
    while read -r id name; do keep "$id" "$name" || true; done
docker_api /events --max-time 0 --no-buffer --get --data "since=$since" \
    --data-urlencode "filters={\"type\":[\"container\"],\"event\":[\"start\",\"die\"],$LABEL}" |
    while read -r event; do
        id=${event#*'"ID":"'} name=${event#*'"name":"'}
        id=${id%%'"'*} name=${name%%'"'*}
        case $event in
            # Another attempt at the task: only the last attempt's output stays.
            *'"Action":"start"'*) rm -f "$(kept "$name")" ;;
            *) keep "$id" "$name" || true ;;
        esac
    done
