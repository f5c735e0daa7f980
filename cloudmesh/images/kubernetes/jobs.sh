# Prints the ids of the jobs that this cluster's Kubernetes has, one a line, on a server; it fails where the API does not say.
# shellcheck shell=sh
set -eu

listed=$(/opt/cloudmesh/bin/kubectl --kubeconfig=/etc/kubernetes/admin.conf --cache-dir=/var/lib/cloudmesh/kubernetes/cache \
    --namespace=cms-jobs --request-timeout=60s get jobs.batch --output=name)
printf '%s\n' "$listed" | sed -n 's|^job\.batch/||p'
