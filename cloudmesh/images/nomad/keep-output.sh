#!/bin/sh
# Saves all that Nomad's tasks print where Nomad's API shows it: keep-output.sh ALLOCATIONS
#
# Nomad's own log of a task is kept by processes that may miss some of it (hashicorp/nomad#6931), and its oldest part goes.
# The Docker daemon's log, by its driver "local", has every byte. Of each container, from its start, there is then in the
# directory of its allocation, where a task cannot write:
#
#   output.TASK.CREATED       the daemon's log as it is; it may grow until there is an end (docker_log.py reads it)
#   output.TASK.CREATED.from  the host's start in which the container was started
#   output.TASK.CREATED.gap   what is not kept of a task that printed more than its logLimit, see shorten-log.pl; else empty
#   output.TASK.CREATED.end   nothing is added any more. It may say "restarted" (the host was, before the container ended),
#                             or "elsewhere DRIVER": the job itself says that its output goes somewhere else
#
# The daemon's log is one file for ever: what was copied of a large one is taken out of it. The container is removed when
# its output is saved and Nomad knows how it ended. Killed at any moment, this goes on later.
# shellcheck source=cloudmesh/images/nomad/docker.sh
if ! command -v docker_api >/dev/null; then . "$(dirname "$0")/docker.sh"; fi
set -eu

allocations=$1
# Which containers are seen to now; systemd makes it, and removes it.
: "${RUNTIME_DIRECTORY:=/run/cloudmesh-output}"
# Nomad asks the Docker daemon how a container ended. After so many seconds it has done so; when the host has just been
# started, Nomad may be.
ASKED=10 ASKED_AFTER_START=120
# How many bytes of what a task prints are kept where its container has no such label: those of job files have, see
# job_spec.py.
LIMIT=1073741824 LIMIT_LABEL=cloudmesh.log_limit
# A log with less than the first is below any limit. From the second on, what was copied goes out of the daemon's.
SMALL=500000 LARGE=100000000
# What bootstrap.py has for the size of the daemon's log; a native job may have it begin other files, which are not copied.
ENDLESS=1152921504606846976
shortener=$(dirname "$0")/shorten-log.pl
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
        elsewhere=$(printf '%s' "$description" | grep -o '"LogConfig":{"Type":"[^"]*"' | cut -d '"' -f 6)
        case "$elsewhere $description" in local*"\"max-size\":\"$ENDLESS\""*) elsewhere= ;; esac
        log=$(field HostnamePath "$description")
        log=${log%/*}/local-logs/container.log
        limit=$(field "$LIMIT_LABEL" "$description")
        : "${limit:=$LIMIT}"
        touch "$file.gap"
        [ -e "$file.from" ] || boot >"$file.from"
        if [ -z "$elsewhere" ]; then copy "$1"; else until wait_for_end "$1" 3600; do :; done; fi
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

# copy ID: copies the daemon's log as it grows.
copy() {
    pause=20 have=$(size "$file")
    tail -c "+$((have + 1))" -f "$log" >>"$file" &
    copier=$!
    until wait_for_end "$1" "$pause"; do
        if [ "$(size "$log")" -gt "$SMALL" ]; then pause=2; fi
        shorten
    done
    { kill "$copier" && wait "$copier"; } 2>/dev/null || true
    append "$log" "$file"
    shorten
}

# Takes out of the copy what is beyond the task's limit, and out of the daemon's log what was copied.
shorten() {
    copied=$(size "$file")
    if [ "$copied" -gt "$SMALL" ]; then
        read -r next 2>/dev/null <"$file.scan" || next=$limit
        [ "$copied" -le "$next" ] || perl "$shortener" docker "$limit" "$file" || true
    fi
    blocks=$(stat -c %b "$log" 2>/dev/null || echo 0)
    if [ "$((blocks * 512))" -gt "$LARGE" ]; then
        sync --data "$file" && fallocate --punch-hole --offset 0 --length "$copied" "$log" || true
    fi
}

# What ends while the host goes down is finished when it has been started again: it was the host that ended it.
finish() {
    [ "$(systemctl is-system-running 2>/dev/null)" != stopping ] || exit 0
    {
        if [ "$(cat "$file.from")" != "$(boot)" ]; then echo restarted; fi
        if [ -n "$elsewhere" ]; then echo "elsewhere $elsewhere"; fi
    } >"$file.end.new"
    mv "$file.end.new" "$file.end"
}

rm -rf "${RUNTIME_DIRECTORY:?}"/*
containers | while read -r id name; do
    # It may be told twice: as one that is there, and as one that has just started.
    if mkdir -p "$RUNTIME_DIRECTORY" && mkdir "$RUNTIME_DIRECTORY/$id" 2>/dev/null; then keep "$id" "$name" & fi
done
