#!/bin/sh
# Makes this host part of a Kubernetes cluster, or takes it out again: walkthrough.sh VERB, as root, in a folder of inputs.
#
#   prepare    packages, configuration, certificates; the container runtime runs
#   registry   the cluster's image registry (servers only)
#   bootstrap  the first server: kubeadm init, the pod network, the namespace for jobs
#   join       the host joins, its kubelet answers, and its node gets annotations that say how the operator reaches it
#   servers    which servers there are, of a host that is in
#   rotate     other certificates and keys, of a host that is in; its pods go on
#   upgrade    kubeadm upgrade, and then the kubelet of the new version; containers run on
#   clean      restores the host as it was before
#
# Inputs: etc/*, names/*, units/*, kubernetes/*, patches/*, cni/*, pki/* and pki-etcd/* (copied as they are), containers.conf,
# containerd.toml, hosts/*.toml (how images are pulled), address, registry (NAME:PORT), registry_host (empty file: this host
# has a registry), engine (SHA-256 and name of each binary), node and node.json (the name and the annotations of the
# node), ignored (preflight checks of kubeadm), notes; for bootstrap init.yaml and manifests.json, and where it begins with
# the state of another cluster, snapshot (of etcd); for join join.json and invitation.json; for rotate kubeconfigs/*, kubelet.pem
# (the kubelet's certificate and key), restart (parts of the control plane, one a line), refresh (empty file: the tokens of pods
# are replaced), rotation (how far it is then); for upgrade upgrade.json, manifests.json and leads (empty file: the first host
# that gets the version).
# Run by hand: sh walkthrough.sh VERB
# shellcheck shell=sh
# shellcheck source=cloudmesh/images/host/clean.sh
if ! command -v restore_firewall >/dev/null; then . "$(dirname "$0")/../host/clean.sh"; fi

DATA=/var/lib/cloudmesh/kubernetes
KUBELET=/var/lib/kubelet
SOCKET=/run/cloudmesh/containerd.sock
SANDBOXES=/var/lib/cloudmesh/containerd/io.containerd.grpc.v1.cri/sandboxes
SHIMS=/run/cloudmesh/containerd/io.containerd.runtime.v2.task/k8s.io
STORE=/var/lib/cloudmesh/etcd
RESULTS=/var/lib/cloudmesh/results
OUTPUT=/var/log/cloudmesh
SCOPES=$UNITS/cri-containerd-.scope.d
PLACES="$PLACES /etc/kubernetes /etc/containerd /usr/libexec/kubernetes $KUBELET /var/lib/cni /run/netns /run/flannel
 /run/containerd /usr/lib/modules /var/log/kubernetes /var/log/pods /var/log/containers $OUTPUT"
FIREWALL='KUBE-|FLANNEL-|CNI-|cni0'
# Settings of the kernel that the kubelet or the pod network changes.
SETTINGS="vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys
 kernel/keys/root_maxbytes net/ipv4/conf/all/route_localnet net/ipv4/conf/all/forwarding net/ipv4/conf/default/forwarding
 net/bridge/bridge-nf-call-iptables net/bridge/bridge-nf-call-ip6tables"

prepare() {
    remember_host
    remember_kernel
    place containers.conf "$SCOPES/cloudmesh.conf" 644 || true
    place_configuration
    place_all kubernetes "$CONFIG/kubernetes" 600
    place_all patches "$CONFIG/patches" 600
    place_all cni "$CONFIG/cni" 644
    place_registry_servers
    while read -r line; do note "$line"; done <notes
    set -- ca-certificates containernetworking-plugins curl iproute2 iptables nftables
    # Packages of other names also contain containerd; installing this one would remove them.
    if ! command -v containerd >/dev/null; then set -- "$@" containerd; fi
    if [ -e registry_host ]; then set -- "$@" docker-registry; fi
    keep_from_starting containerd
    keep_from_starting docker-registry
    install_packages "$@"
    start_runtime
}

place_registry_servers() {
    for file in hosts/*; do place "$file" "$CONFIG/certs.d/$(basename "$file" .toml)/hosts.toml" 644 || true; done
}

remember_kernel() {
    keep settings settings
    keep xtables xtables_lock
}

settings() {
    for setting in $SETTINGS; do
        [ ! -e "/proc/sys/$setting" ] || printf '%s %s\n' "$setting" "$(cat "/proc/sys/$setting")"
    done
}

xtables_lock() { if [ -e /run/xtables.lock ]; then echo theirs; fi; }

# Debian's packages start their service as soon as they are installed, unless it is masked. A service that was there
# before is left alone.
keep_from_starting() {
    if [ -e "$UNITS/$1.service" ] || has_package "$1" || command -v "$1" >/dev/null; then return 0; fi
    printf '%s\n' "$1" >>"$STATE/masked"
    ln -s /dev/null "$UNITS/$1.service"
}

start_runtime() {
    step "start containerd"
    changed=
    if place containerd.toml "$CONFIG/containerd.toml" 600; then changed=yes; fi
    systemctl enable --quiet cloudmesh-containerd.service
    if [ -n "$changed" ]; then
        systemctl restart cloudmesh-containerd.service || fail "containerd did not start: $(journal cloudmesh-containerd)"
    else
        systemctl start cloudmesh-containerd.service || fail "containerd did not start: $(journal cloudmesh-containerd)"
    fi
    wait_for 30 test -S "$SOCKET" || fail "containerd does not answer: $(journal cloudmesh-containerd)"
}

registry() { start_registry; }

bootstrap() {
    equip
    make_results
    if [ -e snapshot ]; then
        restore_snapshot
    elif [ ! -e "$DATA/joined" ]; then
        kubeadm init init.yaml
    fi
    step "start the pod network"
    administer apply --server-side --force-conflicts --field-manager=cloudmesh -f manifests.json
    # kubeadm requires a bootstrap token, which nobody uses.
    administer --namespace=kube-system delete secret --field-selector=type=bootstrap.kubernetes.io/token
}

# etcd begins with what it was in another cluster, as the only member. The nodes that it knows are gone, and pods are not to be
# given to them: the scheduler and the controllers wait for 15 s, as their predecessors' leases run out.
restore_snapshot() {
    if [ -e "$DATA/joined" ]; then
        wait_for 60 forget_hosts || fail_to_forget
        return 0
    fi
    place_snapshot
    # It holds up nobody: not the lock of this script, and not the next one when this one is gone.
    (exec 8<&- && wait_for 600 forget_hosts_or_leave "$$") &
    forgetting=$!
    kubeadm init init.yaml
    step "forget the hosts that there were"
    wait "$forgetting" || fail_to_forget
}

forget_hosts_or_leave() { ! kill -0 "$1" || forget_hosts; }

fail_to_forget() { fail "the hosts of the snapshot could not be taken out: $(last_lines "$DATA/forget.log")"; }

# A store that is there is of a run that was cut off, and may have more in it by now.
place_snapshot() {
    if [ -e "$STORE" ]; then return 0; fi
    step "put the snapshot in place"
    rm -rf "$STORE.new"
    peer=https://$(cat address):2380
    "$BIN/etcdutl" snapshot restore snapshot --data-dir "$STORE.new" --name "$(cat node)" \
        --initial-cluster "$(cat node)=$peer" --initial-advertise-peer-urls "$peer" >"$DATA/etcdutl.log" 2>&1 ||
        fail "etcdutl could not put the snapshot in place: $(last_lines "$DATA/etcdutl.log")"
    mv "$STORE.new" "$STORE"
}

# Whether there are neither nodes but that of this host, whose name none of them has, nor pods there that had not ended. These
# are deleted as if they had never been: a Job that finds them missing begins again, and does not count them as failed.
forget_hosts() {
    others="spec.nodeName!=,spec.nodeName!=$(cat node)"
    ask_api get pods --all-namespaces --field-selector="status.phase!=Succeeded,status.phase!=Failed,$others" \
        --output=jsonpath='{range .items[*]}{.metadata.namespace} {.metadata.name}{"\n"}{end}' >"$DATA/pods" || return 1
    cut -d ' ' -f 1 "$DATA/pods" | sort -u >"$DATA/pods.namespaces"
    while read -r namespace; do
        # shellcheck disable=SC2046 # a list of names
        set -- $(sed -n "s/^$namespace //p" "$DATA/pods") --namespace="$namespace"
        ask_api patch pods "$@" --type=merge --patch='{"metadata":{"finalizers":null}}' >/dev/null || true
        ask_api delete pods "$@" --force --grace-period=0 --wait=false >/dev/null || true
    done <"$DATA/pods.namespaces"
    ask_api delete nodes --field-selector="metadata.name!=$(cat node)" --wait=false >/dev/null && [ ! -s "$DATA/pods" ]
}

ask_api() {
    "$BIN/kubectl" --kubeconfig /etc/kubernetes/admin.conf --cache-dir="$DATA/cache" --request-timeout=10s "$@" 2>"$DATA/forget.log" </dev/null
}

# Runs kubectl with all rights: administer OPTION...
administer() {
    "$BIN/kubectl" --kubeconfig /etc/kubernetes/admin.conf --cache-dir="$DATA/cache" "$@" >"$DATA/kubectl.log" 2>&1 ||
        fail "the cluster could not be set up: $(last_lines "$DATA/kubectl.log")"
}

join() {
    drop_remains
    equip
    make_results
    if [ ! -e "$DATA/joined" ]; then kubeadm join join.json; fi
    ask_any_server
    step "start the kubelet"
    systemctl start cloudmesh-kubelet.service
    wait_for 60 kubelet_answers || fail "the kubelet does not answer: $(journal cloudmesh-kubelet)"
    wait_for 60 introduce || fail "the API does not know this host as $(cat node): $(last_lines "$DATA/node.log")"
    engine_started
}

# The kubelet is the last to be exchanged, as it may not be newer than the API that it asks.
upgrade() {
    place_configuration
    place_all patches "$CONFIG/patches" 600
    place_all kubernetes "$CONFIG/kubernetes" 600
    mkdir -p "$BIN"
    while read -r sum name; do
        if [ "$name" = kubeadm ]; then fetch_file "$sum" "$BIN/$name"; fi
    done <engine
    if [ -e leads ]; then upgrade_by apply; else upgrade_by node; fi
    fetch_engine
    start_runtime
    if [ -e leads ]; then
        step "start the pod network"
        administer apply --server-side --force-conflicts --field-manager=cloudmesh -f manifests.json
    fi
    ask_any_server
    step "restart the kubelet"
    systemctl restart cloudmesh-kubelet.service
    wait_for 60 kubelet_answers || fail "the kubelet does not answer: $(journal cloudmesh-kubelet)"
}

# upgrade_by apply|node: the first host of the cluster, or any other.
upgrade_by() {
    step "kubeadm upgrade $1"
    PATH=$BIN:$PATH "$BIN/kubeadm" upgrade "$1" --config upgrade.json >"$DATA/kubeadm.log" 2>&1 ||
        fail "kubeadm upgrade $1 failed: $(last_error "$DATA/kubeadm.log")"
}

# Pods of the host's network have a copy of its /etc/hosts, of when they started: the kubelet starts them again.
servers() {
    place_configuration
    if [ -e "$UNITS/cloudmesh-registry-sync.service" ]; then systemctl enable --quiet --now cloudmesh-registry-sync.service; fi
    place_registry_servers
    pkill -x 'kube-proxy|flanneld' || true
}

# The parts of a server, and the kubelet, read most of their files when they start.
rotate() {
    place_certificates
    place_all kubernetes "$CONFIG/kubernetes" 600
    place_all pki /etc/kubernetes/pki 600
    place_all pki-etcd /etc/kubernetes/pki/etcd 600
    # Only the first server has one.
    [ -e /etc/kubernetes/super-admin.conf ] || rm -f kubeconfigs/super-admin.conf
    place_all kubeconfigs /etc/kubernetes 600
    place_kubelet_certificate
    [ ! -e restart ] || restart_control_plane
    step "restart the kubelet"
    touch "$DATA/refresh"
    systemctl restart cloudmesh-kubelet.service
    wait_for 60 kubelet_answers || fail "the kubelet does not answer: $(journal cloudmesh-kubelet)"
    [ ! -e refresh ] || wait_for_tokens
    restart_registry
    place rotation "$CONFIG/rotation" 600 || true
}

# The kubelet itself replaces the file that the link names.
place_kubelet_certificate() {
    [ -e kubelet.pem ] || return 0
    place kubelet.pem "$KUBELET/pki/kubelet-client-rotated.pem" 600 || true
    ln -sf "$KUBELET/pki/kubelet-client-rotated.pem" "$KUBELET/pki/kubelet-client-current.pem.new"
    mv -T "$KUBELET/pki/kubelet-client-current.pem.new" "$KUBELET/pki/kubelet-client-current.pem"
}

# A kubelet that starts has no tokens, and gets new ones for all pods that it has.
wait_for_tokens() {
    step "wait for new tokens of pods"
    wait_for 150 tokens_are_new ||
        note "pods that may not reach the API until the kubelet gives them new tokens, within the hour: $(old_tokens | cut -d / -f 6 | tr '\n' ' ')"
}

tokens_are_new() { [ -z "$(old_tokens)" ]; }

old_tokens() {
    find "$KUBELET/pods" -path '*/kubernetes.io~projected/kube-api-access-*/..data' ! -newer "$DATA/refresh" 2>/dev/null || true
}

# One part after the other: without its store the API ends, and is then waited for longer and longer. On a cluster that is
# well, it is waited until this server is.
restart_control_plane() {
    if api_is_ready; then was_ready=yes; else was_ready=; fi
    # Where its own certificate had expired, it has ended, and is started again and again.
    wait_for 60 kubelet_answers || fail "the kubelet does not answer: $(journal cloudmesh-kubelet)"
    while read -r part; do restart_part "$part"; done <restart
    [ -z "$was_ready" ] || wait_for 300 api_is_ready || fail "the API is not ready again: $(journal cloudmesh-kubelet)"
}

# The kubelet starts the part again when its process has ended: at once where it did not so a short while ago, which one that
# starts anew does not know.
restart_part() {
    step "restart $1"
    old=$(part_processes "$1" || true)
    # shellcheck disable=SC2086 # numbers of processes
    [ -z "$old" ] || kill $old
    wait_for 300 part_is_new "$1" "$old" || fail "$1 did not start again: $(journal cloudmesh-kubelet)"
}

# The kernel knows a program by fifteen letters of its name.
part_processes() { pgrep -x "$(printf '%.15s' "$1")"; }

# part_is_new PART OLD: it runs, and none of the processes of before does.
part_is_new() {
    running=$(part_processes "$1") && ! printf '%s\n' "$running" | grep -qxF "${2:-none}"
}

api_is_ready() {
    curl --silent --fail --insecure --max-time 5 --noproxy '*' -o /dev/null "https://127.0.0.1:6443/readyz"
}

# A host whose /etc/kubernetes was deleted joins as a new one: the cluster has forgotten what it was, its pods and the network
# of these included, and gives it another.
drop_remains() {
    if [ ! -e "$DATA/joined" ] || [ -e /etc/kubernetes/kubelet.conf ]; then return 0; fi
    step "drop what an earlier join has left"
    stop_pods
    drop_pod_network
    for path in "$STORE" "$KUBELET/pki"; do remove_tree "$path"; done
    rm -f "$DATA/joined"
    systemctl start cloudmesh-containerd.service || fail "containerd did not start: $(journal cloudmesh-containerd)"
    wait_for 30 test -S "$SOCKET" || fail "containerd does not answer: $(journal cloudmesh-containerd)"
}

# kubeadm has the kubelet of a server ask no API but that of its own host.
ask_any_server() {
    file=/etc/kubernetes/kubelet.conf
    server=https://api.cloudmesh:$(sed -n 's|^ *server: .*:||p' "$file")
    if ! grep -q "server: $server$" "$file"; then
        sed -i "s|server: .*|server: $server|" "$file"
        systemctl restart cloudmesh-kubelet.service
    fi
}

# Puts the binaries where the kubelet and containerd expect them; on a server also the certificate authorities.
equip() {
    fetch_engine
    mkdir -p "$DATA" /opt/cloudmesh/cni
    for plugin in /usr/lib/cni/* "$BIN/flannel"; do ln -sf "$plugin" "/opt/cloudmesh/cni/$(basename "$plugin")"; done
    place_all pki /etc/kubernetes/pki 600
    place_all pki-etcd /etc/kubernetes/pki/etcd 600
    systemctl enable --quiet cloudmesh-kubelet.service
}

# Creates the directory in which the tasks of jobs leave their results, as any user, and has their output kept;
# cloudmesh-results.service removes both of jobs that there are no more.
make_results() {
    mkdir -p "$RESULTS"
    chmod 1777 "$RESULTS"
    systemctl enable --quiet cloudmesh-output.service cloudmesh-results.service
    systemctl restart cloudmesh-output.service cloudmesh-results.service
}

# Runs kubeadm VERB FILE. If a run was interrupted, the next one ignores all preflight checks, as they would refuse what
# the first one left.
kubeadm() {
    step "kubeadm $1"
    ignored=$(if [ -e "$DATA/begun" ]; then echo all; else cat ignored; fi)
    if [ -e snapshot ]; then ignored=$ignored,DirAvailable--var-lib-cloudmesh-etcd; fi
    touch "$DATA/begun"
    PATH=$BIN:$PATH "$BIN/kubeadm" "$1" --config "$2" --ignore-preflight-errors="$ignored" >"$DATA/kubeadm.log" 2>&1 ||
        fail "kubeadm $1 failed: $(last_error "$DATA/kubeadm.log")"
    touch "$DATA/joined"
}

# Prints the error messages of kubeadm, without the advice that follows them.
last_error() { grep -E '^(error|\s+\[ERROR|.*\[ERROR)' "$1" | tail -n 4 | tr -s '\n\t ' ' ' || last_lines "$1"; }

last_lines() { tail -n 3 "$1" | tr '\n' ' '; }

kubelet_answers() { curl --silent --fail --max-time 5 --noproxy '*' -o /dev/null http://127.0.0.1:10248/healthz; }

# Annotates the node of this host. The credential of a kubelet may change its own node and no other.
introduce() {
    "$BIN/kubectl" --kubeconfig /etc/kubernetes/kubelet.conf patch node "$(cat node)" --type=merge \
        --cache-dir="$DATA/cache" --patch-file=node.json >"$DATA/node.log" 2>&1
}

clean() {
    if [ ! -e /etc/cloudmesh ] && [ ! -e /var/lib/cloudmesh ]; then return 0; fi
    mkdir -p "$STATE"
    places=$(cat "$STATE/places" 2>/dev/null || true)
    step "stop Kubernetes"
    stop_pods
    stop_units
    forget_names
    bar_nobody
    leave_storage
    remove_network
    step "remove packages and files"
    purge_packages
    if [ -e "$STATE/masked" ]; then
        while read -r unit; do rm -f "$UNITS/$unit.service"; done <"$STATE/masked"
    fi
    remove_accounts
    rm -f "$SCOPES/cloudmesh.conf"
    rmdir "$SCOPES" 2>/dev/null || true
    systemctl daemon-reload
    systemctl reset-failed
    remove_files
    restore_kernel
    remove_tree /var/lib/cloudmesh
    restore_places "$places"
    # This comes last, so that a host whose cleaning was interrupted is still recognized as part of the cluster.
    rm -rf /etc/cloudmesh
}

# Stops the kubelet first, as it would restart the pods. The pods are in a slice of systemd, but the process that
# watches each pod (its shim) is not.
stop_pods() {
    systemctl disable --quiet --now cloudmesh-kubelet.service 2>/dev/null || true
    systemctl kill --signal=KILL kubepods.slice 2>/dev/null || true
    systemctl stop cloudmesh-containerd.service 2>/dev/null || true
    for process in /proc/[0-9]*; do
        case $(tr '\0' ' ' <"$process/cmdline") in
            *containerd-shim*"-address $SOCKET"*) kill -KILL "${process#/proc/}" ;;
        esac
    done 2>/dev/null || true
    # Each shim listens on a socket, whose file it removes only if it ends by itself.
    sed -s 's|^unix://||; s/$/\n/' "$SHIMS"/*/address 2>/dev/null | while read -r path; do rm -f "${path:-/nonexistent}"; done
    systemctl stop kubepods.slice 2>/dev/null || true
    find /sys/fs/cgroup -depth -type d -path '*kubepods*' -exec rmdir {} + 2>/dev/null || true
}

drop_pod_network() {
    for file in /run/netns/cni-*; do
        [ -e "$file" ] || continue
        umount "$file" 2>/dev/null || true
        rm -f "$file"
    done
    for link in cni0 flannel.1; do remove_link "$link"; done
    rm -rf /var/lib/cni/networks/cloudmesh
}

remove_network() {
    drop_pod_network
    restore_firewall "$FIREWALL"
    restore_forwarding
    for pod in "$SANDBOXES"/*; do rm -f "/var/lib/cni/results/"*"-$(basename "$pod")-"*; done
    [ -s "$STATE/xtables" ] || rm -f /run/xtables.lock
}

# Removes the folders of Kubernetes. `restore_places` creates those again that the host had before and that were empty.
remove_files() {
    for path in /etc/kubernetes "$KUBELET" /run/flannel /usr/libexec/kubernetes /run/cloudmesh /opt/cloudmesh \
        /var/log/kubernetes /var/log/pods /var/log/containers "$OUTPUT"; do
        remove_tree "$path"
    done
    if is_ours containerd; then
        for path in /var/lib/containerd /run/containerd /etc/containerd; do remove_tree "$path"; done
    fi
    for path in /var/lib/cni/networks /var/lib/cni/results /var/lib/cni /run/netns /usr/lib/modules; do
        rmdir "$path" 2>/dev/null || true
    done
}

restore_kernel() {
    [ -e "$STATE/modules" ] || return 0
    while read -r setting value; do echo "$value" >"/proc/sys/$setting" || true; done <"$STATE/settings"
    if ! grep -qx br_netfilter "$STATE/modules"; then modprobe --quiet --remove br_netfilter 2>/dev/null || true; fi
}

case ${1:-} in
    prepare | registry | bootstrap | join | servers | rotate | upgrade | clean) alone; "$1" ;;
    *) fail "unknown verb '${1:-}': prepare, registry, bootstrap, join, servers, rotate, upgrade or clean" ;;
esac
