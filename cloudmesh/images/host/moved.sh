# Keeps on a server what a host that left the cluster had of a job: its output, and the results of its tasks.
# By the verb:
#   send     (path) the directory as a tar archive; an empty one where there is no such directory. Changes nothing.
#   begin    (place) prepares for what is written now
#   results  (place, task) unpacks the archive on stdin as the results of a task
#   output   (place) writes stdin as the output
#   finish   (place) makes it what `list` tells
#   adopt    unpacks the archive on stdin, which is of all that another server kept; what is here already stays
#   list     (job) prints "::fact moved NODE" for each host that had something, "::fact moved NODE/TASK" for the results of
#            each task, and "::fact moved none" behind them
#   read     (place) prints the output
#   prune    (jobs, one a line) removes what is there of other jobs, and what was begun and not finished
# Inputs: place is JOB/NODE. JOB, NODE and TASK have no slash and no dot at the beginning.
# shellcheck shell=sh
set -eu
here=$PWD
root=/var/lib/cloudmesh/moved
for input in place job task path; do
    if [ -e "$input" ]; then eval "$input=\$(cat $input)"; fi
done

send() {
    # A task could have put a link to the host's own files in its place.
    if [ -L "${path:?}" ]; then
        echo "$path is a link, and no directory of results" >&2
        return 1
    fi
    if [ ! -d "$path" ]; then set -- --files-from=/dev/null; else set -- "--directory=$path" .; fi
    tar --create --file=- --format=pax --sparse --numeric-owner "$@"
}

# The new one is beside the old one until it is complete.
new() { echo "$root/.${place:?}"; }

begin() {
    rm -rf "$(new)"
    mkdir -p "$(new)/results"
}

results() {
    mkdir -p "$(new)/results/${task:?}"
    tar --extract --file=- --same-owner --numeric-owner --preserve-permissions "--directory=$(new)/results/$task"
}

output() { cat >"$(new)/output"; }

finish() {
    mkdir -p "$root/${place%/*}"
    rm -rf "${root:?}/$place"
    mv "$(new)" "$root/$place"
    rmdir --ignore-fail-on-non-empty "$root/.${place%/*}"
}

adopt() {
    rm -rf "$root/.adopted"
    mkdir -p "$root/.adopted"
    tar --extract --file=- --same-owner --numeric-owner --preserve-permissions "--directory=$root/.adopted"
    for folder in "$root/.adopted"/*/*; do
        place=${folder#"$root/.adopted/"}
        if [ ! -d "$folder" ] || [ -e "$root/$place" ]; then continue; fi
        mkdir -p "$root/${place%/*}"
        mv "$folder" "$root/$place"
    done
    rm -rf "$root/.adopted"
}

list() {
    for folder in "$root/${job:?}"/*; do
        [ -d "$folder" ] || continue
        echo "::fact moved ${folder##*/}"
        for task in "$folder"/results/*; do
            [ ! -d "$task" ] || echo "::fact moved ${folder##*/}/${task##*/}"
        done
    done
    echo '::fact moved none'
}

read_output() { cat "$root/${place:?}/output"; }

prune() {
    [ -d "$root" ] || return 0
    for folder in "$root"/* "$root"/.[!.]*; do
        [ -d "$folder" ] || continue
        if ! grep -qxF -e "${folder##*/}" "$here/jobs"; then rm -rf "$folder"; fi
    done
}

umask 077
case ${1:-} in
    send | begin | results | output | finish | adopt | list | prune) "$1" ;;
    read) read_output ;;
    *) printf "::fail unknown verb '%s'\n" "${1:-}" && exit 1 ;;
esac
