#!/bin/sh
# Make sure that a Docker engine answers on this machine; to be run as often as one likes.
#
# An engine that answers ($DOCKER_HOST honoured) is left alone. Else, as root on Debian or Ubuntu, it is installed, with
# debootstrap for machines that reach no image registry, and started: by systemd, or by itself where PID 1 is another.
set -eu

socket=/var/run/docker.sock
log=/var/log/dockerd.log
seconds=60

fail() {
    echo "ERROR: $*" >&2
    exit 1
}

answers() {
    if command -v docker >/dev/null; then
        DOCKER_HOST=${DOCKER_HOST:-unix://$socket} timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1
    else
        [ -S "$socket" ] && command -v curl >/dev/null &&
            curl -fs -m 10 -o /dev/null --unix-socket "$socket" http://localhost/_ping
    fi
}

has_package() { apt-cache show "$1" >/dev/null 2>&1; }

install_engine() {
    command -v apt-get >/dev/null || fail "no Docker engine is installed: install one, or set DOCKER_HOST"
    echo "installing the Docker engine" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update >&2 || fail "apt-get update failed"
    has_package docker.io || fail "this machine's package sources have no docker.io: install a Docker engine, or set DOCKER_HOST"
    set -- docker.io debootstrap debian-archive-keyring
    # Debian 13 has the client in a package of its own
    if ! command -v docker >/dev/null && has_package docker-cli; then set -- "$@" docker-cli; fi
    apt-get -qqy -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 install --no-install-recommends "$@" >/dev/null || fail "apt-get install $* failed"
}

# forget FILE NAME: remove the PID file of a crashed run; its number may be another process's by now
forget() {
    [ -s "$1" ] || return 0
    pid=$(cat "$1")
    # a zombie has a name, but no command line
    case $(tr '\0' ' ' <"/proc/$pid/cmdline") in
    *"$2"*) ;;
    *) rm -f "$1" ;;
    esac 2>/dev/null
}

start_detached() {
    forget /var/run/docker.pid dockerd
    forget /var/run/docker/containerd/containerd.pid containerd
    [ -s /var/run/docker.pid ] || setsid dockerd >>"$log" 2>&1 </dev/null &
}

if answers; then exit 0; fi
[ -z "${DOCKER_HOST:-}" ] || fail "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST: start it, or unset the variable"
if [ "$(id -u)" -ne 0 ]; then
    [ ! -S "$socket" ] || [ -w "$socket" ] || fail "no permission to use $socket: join the group docker, or run as root"
    fail "no Docker engine answers at $socket: start one, or run this as root to install it"
fi

command -v dockerd >/dev/null || install_engine
if [ -d /run/systemd/system ]; then
    log="journalctl -u docker"
    systemctl enable --now docker >&2 || fail "systemd could not start docker: see $log"
else
    answers || start_detached
fi

end=$(($(date +%s) + seconds))
until answers; do
    if [ "$(date +%s)" -ge "$end" ]; then
        last=$([ ! -f "$log" ] || tail -n 1 "$log")
        fail "the Docker engine does not answer within $seconds s, see $log${last:+: $last}"
    fi
    sleep 0.3
done
