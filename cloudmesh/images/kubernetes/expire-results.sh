#!/bin/sh
# Removes from this host the results and the output of jobs that Kubernetes has no more: expire-results.sh SECONDS FOLDER...
#
# A folder has JOB/TASK/ATTEMPT, and is looked at every so many seconds, as root. Kubernetes deletes a job when its time to live is
# over. Where it does not answer, nothing is removed. The credential is the kubelet's, which may get single jobs.
set -eu
PATH=/opt/cloudmesh/bin:$PATH

# The attempts are listed before Kubernetes is asked: one that comes later is of a job that may be new.
attempts() { find "$1" -mindepth 3 -maxdepth 3 -type d -printf '%P\n' | grep -E '^[a-z0-9][a-z0-9.-]*/[^/]+/[^/]+$' || true; }

# Prints "job.batch/NAME" for those of the jobs named on stdin that there are.
present() {
    xargs -r kubectl --kubeconfig=/etc/kubernetes/kubelet.conf --cache-dir=/var/lib/cloudmesh/kubernetes/cache \
        --namespace=cms-jobs --request-timeout=30s get jobs.batch --ignore-not-found --output=name
}

expire() {
    [ -d "$1" ] || return 0
    listed=$(attempts "$1")
    [ -n "$listed" ] || return 0
    there=$(printf '%s\n' "$listed" | cut -d / -f 1 | LC_ALL=C sort -u | present) || return 0
    printf '%s\n' "$listed" | while IFS= read -r attempt; do
        if printf '%s\n' "$there" | grep -qxF "job.batch/${attempt%%/*}"; then continue; fi
        rm -rf "${1:?}/$attempt"
        rmdir "$1/${attempt%/*}" "$1/${attempt%%/*}" 2>/dev/null || true
    done
}

seconds=$1
shift
while sleep "$seconds"; do
    for folder in "$@"; do expire "$folder" || true; done
done
