#!/bin/sh
# Saves all that Nomad's tasks print where Nomad's API shows it: keep-output.sh ALLOCATIONS
#
# Nomad's own log of a task is kept by processes that may miss some of it (hashicorp/nomad#6931), and its oldest part goes.
# The Docker daemon's log, by its driver "local", has every byte. Of each container, from its start, there is then in the
# directory of its allocation, where a task cannot write:
#
#   output.TASK.CREATED       the daemon's log as it is; it may grow until there is an end (docker_log.py reads it)
#   output.TASK.CREATED.from  the host's start in which the container was started
#   output.TASK.CREATED.gap   OFFSET BYTES: so many are missing there, at least; 0: it is not known how many
#   output.TASK.CREATED.end   nothing is added any more. It may say "restarted" (the host was, before the container ended),
#                             or "elsewhere DRIVER": the job itself says that its output goes somewhere else
#
# The container is removed when its output is saved and Nomad knows how it ended. Killed at any moment, this goes on later.
# shellcheck source=cloudmesh/images/nomad/docker.sh
if ! command -v docker_api >/dev/null; then . "$(dirname "$0")/docker.sh"; fi
set -eu

allocations=$1
# Which containers are seen to now; systemd makes it, and removes it.
: "${RUNTIME_DIRECTORY:=/run/cloudmesh-output}"
# Nomad asks the Docker daemon how a container ended. After so many seconds it has done so; when the host has just been
# started, Nomad may be.
ASKED=10 ASKED_AFTER_START=120
# What bootstrap.py lets each of the two files of the daemon's log grow to.
FILE_BYTES=1000000000
LABEL='"label":["com.hashicorp.nomad.alloc_id"]'

# The containers that there are, and then those that start, as "ID NAME".
containers() {
    since=$(date +%s.%N)
    docker_api /containers/json --get --data all=1 \
        --data-urlencode "filters={\"status\":[\"running\",\"paused\",\"exited\",\"dead\"],$LABEL}" |
        grep -o '"Id":"[0-9a-f]*","Names":\["/[^"]*"' | sed 's|"Id":"\(.*\)","Names":\["/\(.*\)"|\1 \2|' || true
    docker_api /events --max-time 0 --no-buffer --get --data "since=$since" \
        --data-urlencode "filters={\"type\":[\"container\"],\"event\":[\"start\"],$LABEL}" |
        while read -r event; do
            id=${event#*'"ID":"'} name=${event#*'"name":"'}
            echo "${id%%'"'*} ${name%%'"'*}"
        done
}

# field NAME DESCRIPTION: the first text of that name in a description of a container.
field() { printf '%s' "$2" | grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }

# What tells this start of the host from any other: the kernel's start, or that of the container which stands for a host.
boot() { echo "$(cat /proc/sys/kernel/random/boot_id) $(sed 's/.*) //' /proc/1/stat | cut -d ' ' -f 20)"; }

# beginning FILE: what tells a file of the daemon's log from others, the time in its first entry; nothing while it is empty.
beginning() { head -c 22 "$1" 2>/dev/null | od -An -v -t x1 | tr -d ' \n'; }

size() { stat -c %s "$1" 2>/dev/null || echo 0; }

# append FILE TO: what TO lacks at the end of FILE.
append() {
    have=$(size "$2")
    tail -c "+$((have + 1))" "$1" >>"$2"
}

# keep ID NAME: saves the output of a container from its start to its end.
keep() {
    short=$(printf %.12s "$1")
    name=${2%".$short"}
    task=${name%-????????-????-????-????-????????????}
    folder=$allocations/${name#"$task"-}
    description=$(docker_api "/containers/$1/json") && [ -d "$folder" ] || return 0
    file=$folder/output.$task.$(field Created "$description")
    if [ ! -e "$file.end" ]; then
        # So that Nomad, when it starts the task again, does not remove the container of that name.
        docker_api "/containers/$1/rename?name=$name.$short" -X POST || true
        driver=$(printf '%s' "$description" | grep -o '"LogConfig":{"Type":"[^"]*"' | cut -d '"' -f 6)
        log=$(field HostnamePath "$description")
        log=${log%/*}/local-logs/container.log
        [ -e "$file.from" ] || boot >"$file.from"
        if [ "$driver" = local ]; then copy "$1"; else until wait_for_end "$1" 3600; do :; done; fi
        finish
    fi
    if [ -s "$file.end" ]; then sleep "$ASKED_AFTER_START"; else sleep "$ASKED"; fi
    docker_api "/containers/$1?v=1" -X DELETE || true
    rmdir "$RUNTIME_DIRECTORY/$1" 2>/dev/null || true
}

# wait_for_end ID SECONDS: whether the container has ended, or is gone, before so many seconds are over.
wait_for_end() {
    status=0
    docker_api "/containers/$1/wait" -X POST --max-time "$2" >/dev/null || status=$?
    case $status in
        0 | 22) return 0 ;;
        28) return 1 ;;
    esac
    sleep 1
    return 1
}

# copy ID: copies the daemon's log, which is a new file whenever it has grown to FILE_BYTES. The first one is copied as it
# grows. Of those that follow the daemon keeps the last two.
copy() {
    files=1 pause=20 source=$log
    current=$(beginning "$log")
    # This has been here before, and the daemon has begun another file since; or this comes late.
    if [ -e "$log.1" ] && [ "$(beginning "$file")" != "$current" ]; then files=2 source=$log.1; fi
    have=$(size "$file")
    if [ "$have" -gt 0 ] && [ "$(beginning "$source")" != "$(beginning "$file")" ]; then source=/dev/null; fi
    tail -c "+$((have + 1))" -f "$source" >>"$file" &
    copier=$!
    until wait_for_end "$1" "$pause"; do
        [ "$(size "$log")" -lt 10000000 ] || pause=3
        newest=$(beginning "$log")
        if [ -n "$current" ] && [ "$newest" != "$current" ]; then files=$((files + 1)); fi
        current=$newest
    done
    # What it had still to read of a file that is gone elsewhere.
    [ ! -e "$log.1" ] || sleep 1
    { kill "$copier" && wait "$copier"; } 2>/dev/null || true
    # An output that is empty began with the oldest file there is.
    first=$(beginning "$file")
    if [ ! -e "$log.1" ] || [ "$(beginning "$log")" = "$first" ]; then
        append "$log" "$file"
        return 0
    elif [ -z "$first" ] || [ "$(beginning "$log.1")" = "$first" ]; then
        append "$log.1" "$file"
    else
        if [ "$files" -ne 3 ]; then
            echo "$(size "$file") $((files > 3 ? (files - 3) * FILE_BYTES : 0))" >"$file.gap"
        fi
        cat "$log.1" >>"$file" || true
    fi
    cat "$log" >>"$file" || true
}

finish() {
    {
        if [ "$(cat "$file.from")" != "$(boot)" ]; then echo restarted; fi
        if [ "$driver" != local ]; then echo "elsewhere $driver"; fi
    } >"$file.end.new"
    mv "$file.end.new" "$file.end"
}

rm -rf "${RUNTIME_DIRECTORY:?}"/*
containers | while read -r id name; do
    # It may be told twice: as one that is there, and as one that has just started.
    if mkdir -p "$RUNTIME_DIRECTORY" && mkdir "$RUNTIME_DIRECTORY/$id" 2>/dev/null; then keep "$id" "$name" & fi
done
