#!/bin/sh
# Removes from this host the results of jobs that Kubernetes has no more: expire-results.sh RESULTS SECONDS, as root.
#
# RESULTS has JOB/TASK/ATTEMPT, and is looked at every so many seconds. Kubernetes deletes a job when its time to live is
# over. Where it does not answer, nothing is removed. The credential is the kubelet's, which may get single jobs.
set -eu
PATH=/opt/cloudmesh/bin:$PATH

# The attempts are listed before Kubernetes is asked: one that comes later is of a job that may be new.
attempts() { find "$1" -mindepth 3 -maxdepth 3 -type d -printf '%P\n' | grep -E '^[a-z0-9][a-z0-9-]*/[^/]+/[^/]+$' || true; }

# Prints "job.batch/NAME" for those of the jobs named on stdin that there are.
present() {
    xargs -r kubectl --kubeconfig=/etc/kubernetes/kubelet.conf --cache-dir=/var/lib/cloudmesh/kubernetes/cache \
        --namespace=cms-jobs --request-timeout=30s get jobs.batch --ignore-not-found --output=name
}

expire() {
    listed=$(attempts "$1")
    [ -n "$listed" ] || return 0
    there=$(printf '%s\n' "$listed" | cut -d / -f 1 | LC_ALL=C sort -u | present) || return 0
    printf '%s\n' "$listed" | while IFS= read -r attempt; do
        if printf '%s\n' "$there" | grep -qxF "job.batch/${attempt%%/*}"; then continue; fi
        rm -rf "${1:?}/$attempt"
        rmdir "$1/${attempt%/*}" "$1/${attempt%%/*}" 2>/dev/null || true
    done
}

while sleep "$2"; do expire "$1" || true; done
