#!/bin/sh
# Makes this host part of a Nomad cluster, or takes it out again: build.sh VERB, as root, in a folder of input files.
#
#   prepare    packages, configuration, certificates; starts nothing of ours
#   registry   the cluster's image registry (servers only)
#   bootstrap  the first server's state and the management token, before anything listens on the network
#   join       fetches and starts the agent, and waits until it answers
#   servers    which servers there are, of a host that is in
#   rotate     other certificates, of a host that is in; its tasks go on
#   upgrade    fetches another version of the engine, and starts it in place of the one that runs; tasks run on
#   clean      leaves the host as it was before
#
# Inputs: etc/*, names/*, nomad/* and units/* (copied as they are), address, registry (NAME:PORT), registry_host (an empty file,
# where this host has a registry), engine (SHA-256 and name of each file), rotation (how far a rotation is then); for a
# bootstrap that begins with the state of another cluster, snapshot and restore.sh. Run by hand: sh build.sh VERB
# shellcheck shell=sh
# shellcheck source=cloudmesh/images/host/clean.sh
if ! command -v restore_firewall >/dev/null; then . "$(dirname "$0")/../host/clean.sh"; fi
# shellcheck source=cloudmesh/images/nomad/docker.sh
if ! command -v docker_api >/dev/null; then . "$(dirname "$0")/docker.sh"; fi

NOMAD=$BIN/nomad
DATA=/var/lib/cloudmesh/nomad
DOCKER_CERTS=/etc/docker/certs.d
# Docker's own chains are DOCKER, or begin with DOCKER-. A container that stands for a host also has the chain DOCKER_OUTPUT,
# which belongs to the Docker daemon outside.
FIREWALL='DOCKER( |-|$)|docker0|NOMAD-'

prepare() {
    remember_host
    place_configuration
    place_all nomad "$CONFIG/nomad" 600
    if [ -e registry_host ]; then
        keep_registry_from_starting
        install_packages ca-certificates curl docker.io iproute2 iptables nftables docker-registry
    else
        install_packages ca-certificates curl docker.io iproute2 iptables nftables
    fi
    trust_registry
    step "start Docker"
    systemctl start docker.service 2>/dev/null || fail "Docker did not start: $(journal docker)"
    wait_for 60 docker_answers || fail "Docker does not answer: $(journal docker)"
}

# Debian's package starts a registry that is open to everyone as soon as it is installed. A registry that was there before
# keeps running.
keep_registry_from_starting() {
    if [ -e "$UNITS/docker-registry.service" ] || has_package docker-registry; then return 0; fi
    touch "$STATE/masked"
    ln -s /dev/null "$UNITS/docker-registry.service"
}

docker_answers() { docker_api /_ping >/dev/null; }

trust_registry() {
    cp registry "$STATE/registry"
    certs="$DOCKER_CERTS/$(cat registry)"
    place "$CONFIG/ca.pem" "$certs/ca.crt" 644 || true
    place "$CONFIG/host.pem" "$certs/client.cert" 644 || true
    place "$CONFIG/host-key.pem" "$certs/client.key" 600 || true
}

registry() { start_registry; }

# Whoever calls /v1/acl/bootstrap first owns the cluster. So this calls it before anyone else can: the server runs for a
# moment in a network namespace in which there is nothing else; its state stays for the real start. So does a snapshot's.
bootstrap() {
    fetch_engine
    if [ -e "$DATA/bootstrapped" ]; then return 0; fi
    if [ -e snapshot ]; then step "put the snapshot in place"; else step "bootstrap access control"; fi
    rm -rf "$DATA/server" "$DATA/restore.log"
    mkdir -p "$DATA"
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --net sh -eu -c '
        ip link set lo up
        ip address add "$1/32" dev lo
        "$2" agent -config "$3/nomad/agent.json" -config "$3/nomad/server.json" -bootstrap-expect=1 >"$4/bootstrap.log" 2>&1 &
        agent=$!
        trap "kill -INT $agent; wait $agent || true" EXIT
        for _ in $(seq 150); do
            if curl --silent --fail --max-time 5 --noproxy "*" --data "@$3/acl-bootstrap.json" \
                http://127.0.0.1:4646/v1/acl/bootstrap >/dev/null; then
                if [ ! -e snapshot ]; then exit 0; fi
                sh restore.sh snapshot "$3/acl-bootstrap.json" >"$4/restore.log" 2>&1
                exit
            fi
            kill -0 "$agent" && sleep 0.2
        done
        exit 1' bootstrap "$(cat address)" "$NOMAD" "$CONFIG" "$DATA" 2>/dev/null ||
        fail "Nomad could not be bootstrapped: $(tail -n 3 "$(bootstrap_log)" | tr '\n' ' ')"
    touch "$DATA/bootstrapped"
}

# That of the snapshot, once it got so far.
bootstrap_log() { if [ -s "$DATA/restore.log" ]; then echo "$DATA/restore.log"; else echo "$DATA/bootstrap.log"; fi; }

join() {
    fetch_engine
    step "start Nomad"
    mkdir -p "$DATA"
    systemctl enable --quiet cloudmesh-output.service cloudmesh-nomad.service
    systemctl restart cloudmesh-output.service cloudmesh-nomad.service
    wait_for 60 agent_answers || fail "Nomad does not answer: $(journal cloudmesh-nomad)"
    engine_started
}

# The configuration of the agent stays: the operator that upgrades may reach the host by another name than the one who made it.
upgrade() {
    place_configuration
    join
}

# The agent itself learns it from the servers; this is for its next start.
servers() {
    place_configuration
    if [ -e "$UNITS/cloudmesh-registry-sync.service" ]; then systemctl enable --quiet --now cloudmesh-registry-sync.service; fi
    place_all nomad "$CONFIG/nomad" 600
}

# The registry is asked with the host's own certificate, which the other side has to trust: it comes last but one.
rotate() {
    place_certificates
    place_all nomad "$CONFIG/nomad" 600
    trust_registry
    reload_agent
    restart_registry
    place rotation "$CONFIG/rotation" 600 || true
}

# On this signal an agent reads its certificates again and opens all connections anew; before it listens, it would end it.
reload_agent() {
    step "reload Nomad"
    systemctl start cloudmesh-nomad.service
    wait_for 60 agent_listens || fail "Nomad does not answer: $(journal cloudmesh-nomad)"
    kill -HUP "$(systemctl show --property=MainPID --value cloudmesh-nomad.service)"
    sleep 0.5
    wait_for 60 agent_listens || fail "Nomad does not answer: $(journal cloudmesh-nomad)"
}

agent_listens() { curl --silent --max-time 5 --noproxy '*' -o /dev/null http://127.0.0.1:4646/v1/agent/health; }

agent_answers() { curl --silent --fail --max-time 5 --noproxy '*' -o /dev/null "http://127.0.0.1:4646/v1/agent/health?type=$(agent_kind)"; }

agent_kind() { if [ -e "$CONFIG/nomad/server.json" ]; then echo server; else echo client; fi; }

clean() {
    if [ ! -e /etc/cloudmesh ] && [ ! -e /var/lib/cloudmesh ]; then return 0; fi
    mkdir -p "$STATE"
    places=$(cat "$STATE/places" 2>/dev/null || true)
    step "stop Nomad"
    stop_units
    forget_names
    bar_nobody
    remove_containers
    unmount_below "$DATA"
    remove_groups
    leave_storage
    if is_ours docker.io; then remove_docker; else leave_docker; fi
    step "remove packages and files"
    purge_packages
    if [ -e "$STATE/masked" ]; then rm -f "$UNITS/docker-registry.service"; fi
    remove_accounts
    systemctl daemon-reload
    systemctl reset-failed
    remove_tree /opt/cloudmesh
    remove_tree /var/lib/cloudmesh
    restore_places "$places"
    # Last, so that a host whose cleaning was cut off still counts as one of this cluster.
    rm -rf /etc/cloudmesh
}

# The containers of Nomad's tasks outlive the agent.
remove_containers() {
    command -v dockerd >/dev/null || return 0
    if ! containers=$(docker_api '/containers/json?all=1&filters=%7B%22label%22%3A%5B%22com.hashicorp.nomad.alloc_id%22%5D%7D'); then
        is_ours docker.io || note "Docker does not answer: containers and images of the cluster, if there are any, are left"
        return 0
    fi
    printf '%s\n' "$containers" | grep -o '"Id":"[0-9a-f]*"' | cut -d '"' -f 4 | while read -r id; do
        docker_api "/containers/$id?force=1&v=1" -X DELETE || true
    done
}

# Nomad's control groups: one slice in version 2, one group in each hierarchy in version 1.
remove_groups() {
    find /sys/fs/cgroup -depth -type d \( -path '*/nomad.slice*' -o -path '/sys/fs/cgroup/*/nomad*' \) -exec rmdir {} + 2>/dev/null || true
}

remove_docker() {
    step "remove Docker"
    systemctl stop docker.socket docker.service containerd.service 2>/dev/null || true
    # Docker's control groups of version 1 outlive its containers.
    find /sys/fs/cgroup -depth -type d -path '/sys/fs/cgroup/*/docker*' -exec rmdir {} + 2>/dev/null || true
    remove_link docker0
    restore_firewall "$FIREWALL"
    restore_forwarding
    remove_bridge_filter
    for path in /var/lib/docker /var/lib/containerd /etc/docker /run/docker /run/containerd /opt/containerd; do
        remove_tree "$path"
    done
    rmdir /etc/cni/net.d /etc/cni 2>/dev/null || true
    rm -f /run/docker.sock /run/docker.pid
}

# A Docker daemon that was there before the cluster loses only what belongs to the cluster.
leave_docker() {
    registry=$(cat "$STATE/registry" 2>/dev/null || true)
    [ -n "$registry" ] || return 0
    docker_api /images/json | grep -o "\"$registry/[^\"@]*\"" | tr -d '"' |
        while read -r image; do docker_api "/images/$image" -X DELETE >/dev/null || true; done
    rm -rf "${DOCKER_CERTS:?}/$registry"
    # Folders that were empty or missing before the cluster; `restore_places` makes the empty ones again.
    rmdir "$DOCKER_CERTS" /etc/docker 2>/dev/null || true
    restore_firewall NOMAD-
}

case ${1:-} in
    prepare | registry | bootstrap | join | servers | rotate | upgrade | clean) alone; "$1" ;;
    *) fail "unknown verb '${1:-}': prepare, registry, bootstrap, join, servers, rotate, upgrade or clean" ;;
esac
