#!/bin/sh
# Keeps all that the tasks of jobs print, for as long as there is the job: keep-output.sh PODS RESULTS KUBELET OUTPUT
#
# The kubelet removes the output of a pod with the pod: when a job is stopped, for example. So each file of it in PODS, as
# NAMESPACE_POD_UID/CONTAINER/NUMBER.log, has a second name in OUTPUT, which only root reads, from its beginning:
#
#   JOB/TASK/POD/NUMBER.log  the output of the container that was started so many times before in the pod
#   JOB/TASK/POD/limit       how many bytes of what it prints are kept: as the job says
#   JOB/TASK/POD/started     when the pod was, in seconds
#
# The kubelet has made RESULTS/JOB/TASK/POD before, and mounted the secrets of the job, one of which is its limit, below
# KUBELET/UID. A pod of a native job has no results; containerd knows its labels, of which one is the job. Its containers, of
# which there may be several, have JOB/POD/CONTAINER. The middle of what is larger than its limit is dropped, see shorten-log.pl, also of all other pods: the
# kubelet is told not to (bootstrap.py). expire-results.sh removes what is of jobs that there are no more.
set -eu
umask 077

pods=$1 results=$2 kubelet=$3 output=$4
: "${PAUSE:=1}"
# Of pods that are no jobs of ours.
LIMIT=1073741824
# No limit is less, in blocks of 512 bytes.
SMALL=2048
# A pod's last output is looked at once more, when it is not in PODS any more, every so many times.
OFTEN=60
shortener=$(dirname "$0")/shorten-log.pl

# place_of LOG: sets `place` to the folder in OUTPUT for a file in PODS; it fails where there is none for it.
place_of() {
    folder=${1%/*/*} container=${1%/*}
    uid=${folder##*_} pod=${folder##*/cms-jobs_}
    pod=${pod%_*} container=${container##*/}
    set -- "$results"/*/*/"$pod"
    if [ -d "$1" ]; then
        place=$output/${1#"$results"/}
    elif [ -e "$folder/no-job" ] || ! job=$(native_job "$uid"); then
        return 1
    elif [ -n "$job" ]; then
        place=$output/$job/$pod/$container
    else
        : >"$folder/no-job" # is not asked again
        return 1
    fi
}

# native_job UID: prints the job that a pod is of, if any; it fails where containerd does not tell.
native_job() {
    pause=$(ctr containers list --quiet "labels.\"io.kubernetes.pod.uid\"==$1,labels.\"io.cri-containerd.kind\"==sandbox") &&
        [ -n "$pause" ] && labels=$(ctr containers info "${pause%%[!0-9a-f]*}") || return 1
    printf '%s\n' "$labels" | sed -n 's|^ *"batch.kubernetes.io/job-name": "\([a-z0-9][a-z0-9.-]*\)",\{0,1\}$|\1|p' | head -n 1
}

keep() {
    place_of "$1" || return 0
    if [ ! -e "$place/limit" ]; then
        mkdir -p "$place"
        stat -c %Y "${1%/*/*}" >"$place/started"
        cat "$kubelet/$uid"/volumes/kubernetes.io~secret/*/log-limit >"$place/limit.new" 2>/dev/null ||
            echo "$LIMIT" >"$place/limit.new"
        mv "$place/limit.new" "$place/limit"
    fi
    ln "$1" "$place/${1##*/}" 2>/dev/null || true
}

# shorten LOG SIZE: drops the middle of a file that is larger than its limit.
shorten() {
    limit=$LIMIT
    [ ! -e "${1%/*}/limit" ] || read -r limit <"${1%/*}/limit" || true
    read -r next 2>/dev/null <"$1.scan" || next=$limit
    [ "$2" -le "$next" ] || perl "$shortener" cri "$limit" "$1" || true
}

# list FOLDER OPTION...: the files in it as "LINKS SIZE PATH".
list() { find "$@" -type f -name '*.log' -printf '%n %s %p\n' 2>/dev/null || true; }

rounds=0
while :; do
    list "$pods" -mindepth 3 -maxdepth 3 '(' -links 1 -o -size "+$SMALL" -mmin -1 ')' | while read -r links size log; do
        case $log in
            "$pods"/cms-jobs_*)
                [ "$links" -gt 1 ] || keep "$log"
                if [ "$size" -gt "$((SMALL * 512))" ] && place_of "$log"; then log=$place/${log##*/}; fi
                ;;
        esac
        if [ "$size" -gt "$((SMALL * 512))" ]; then shorten "$log" "$size"; fi
    done
    if [ "$((rounds % OFTEN))" = 0 ]; then
        list "$output" -size "+$SMALL" | while read -r _ size log; do shorten "$log" "$size"; done
    fi
    rounds=$((rounds + 1))
    sleep "$PAUSE"
done
