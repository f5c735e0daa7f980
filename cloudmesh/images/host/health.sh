# Says how a host of a cluster is, for `cms cluster test`, and changes nothing on it. Sent behind lib.sh, whose names it uses.
#
# Inputs: registry (NAME:PORT), places (a directory a line, which may be missing).
# Prints a line "::fact KEY VALUE" for each: clock, memory ("AVAILABLE TOTAL" in MiB), disk ("FREE TOTAL MOUNT" in MiB, a line
# for each disk), registry and runtime (empty where it answers, else why it does not).
# shellcheck shell=sh

# Where jobs, images and the cluster's own services write.
FOLDERS="/var/lib/cloudmesh /var/lib/cloudmesh/host /var/lib/cloudmesh/registry /var/lib/cloudmesh/results
    /var/lib/cloudmesh/nomad /var/lib/cloudmesh/storage /var/lib/docker /var/lib/containerd /var/lib/kubelet /var/lib/etcd /tmp"

disks() {
    { printf '%s\n' "$FOLDERS" | tr -s ' ' '\n' && cat places; } | while IFS= read -r folder; do
        if [ -n "$folder" ] && [ -d "$folder" ]; then timeout 5 df -Pk "$folder" 2>/dev/null || true; fi
    done | awk '$1 != "Filesystem" && !seen[$6]++ { print int($4 / 1024), int($2 / 1024), $6 }'
}

# The engine's own access to its images is by the same certificate.
registry() {
    name=$(sed 's/:.*//' registry)
    getent hosts "$name" >/dev/null || printf '%s has no address here: systemctl start cloudmesh-names.service; ' "$name"
    set -- /v2/ -o /dev/null --connect-timeout 5 --max-time 10
    why=$(registry_get "$@" 2>&1) || { printf '%s' "${why:-curl failed}" && return; }
    # A server that goes by the others' has lost its own.
    [ -e "$CONFIG/registry.yml" ] || return 0
    why=$(ask_registry "$(registries | head -n 1)" "$@" 2>&1) || printf 'its own does not answer: %s' "$why"
}

runtime() {
    if [ -e "$UNITS/cloudmesh-containerd.service" ]; then
        said=$(timeout 10 ctr --address /run/cloudmesh/containerd.sock --timeout 8s version 2>&1 >/dev/null) ||
            printf 'containerd does not answer: %s' "$said"
    else
        said=$(curl -sS --max-time 10 --unix-socket /run/docker.sock http://docker/_ping 2>&1) ||
            printf 'Docker does not answer: %s' "$said"
    fi
}

line() { tr '\n' ' '; }

fact clock "$(date +%s.%N)"
fact memory "$(awk '$1 == "MemAvailable:" { free = $2 } $1 == "MemTotal:" { all = $2 }
    END { print int(free / 1024), int(all / 1024) }' /proc/meminfo)"
fact registry "$(registry | line)"
fact runtime "$(runtime | line)"
disks | while read -r disk; do fact disk "$disk"; done
