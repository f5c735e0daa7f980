#!/bin/sh
# Makes the development environment in .venv of the checkout, and sees to what tests need from the machine.
# Quick when there is nothing to do. Give another interpreter by PYTHON=..., another place by VENV=...
# `setup.sh tests` also sees to the programs that unit tests run for real; without root, tests that need them are skipped.
set -eu
cd "$(dirname "$0")/.."
venv="${VENV:-.venv}"

say() { printf 'setup: %s\n' "$*" >&2; }

# install PACKAGE...: by apt, where this user may; else says what is missing.
install() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        say "missing: $*; install it and run this again"
        return 1
    fi
    say "installing $*"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } >/dev/null
}

suits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; }

python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10; do
        if command -v "$candidate" >/dev/null && suits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    say "no Python from 3.10 to 3.13 found; name one by PYTHON=..."
    return 1
}

make_venv() {
    python="$(python)"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install python3-venv
    [ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"
    say "installing the packages into $venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -e '.[dev]'
}

stamp="$(cat setup.py pyproject.toml requirements.txt requirements-dev.txt tools/setup.sh | cksum)"
if [ "$(cat "$venv/stamp" 2>/dev/null)" != "$stamp" ]; then
    make_venv
    printf '%s\n' "$stamp" >"$venv/stamp"
fi
# An engine that no cache, mirror or release site has is built from its Go module, which takes a C compiler.
command -v gcc >/dev/null || install gcc libc6-dev || say 'going on without a C compiler'
if [ -f cloudmesh/images/local/docker-engine.sh ]; then
    sh cloudmesh/images/local/docker-engine.sh
fi

# Their services are not started: the tests start the programs themselves.
install_quietly() {
    if [ -e /usr/sbin/policy-rc.d ]; then
        install "$@"
        return
    fi
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    install "$@"
}

if [ "${1:-}" = tests ] && [ "$(id -u)" -eq 0 ]; then
    missing=
    [ -x /usr/sbin/sshd ] || missing="$missing openssh-server"
    command -v sudo >/dev/null || missing="$missing sudo"
    command -v docker-registry >/dev/null || missing="$missing docker-registry"
    command -v doas >/dev/null || missing="$missing opendoas"
    # login shells
    for shell in zsh fish tcsh mksh; do command -v $shell >/dev/null || missing="$missing $shell"; done
    # shellcheck disable=SC2086 # a list of package names
    [ -z "$missing" ] || install_quietly $missing
    # A Kubernetes host has dozens of these, and all local hosts share what the kernel below gives root: 128 by default.
    instances=/proc/sys/fs/inotify/max_user_instances
    [ "$(cat $instances)" -ge 1024 ] || echo 1024 >$instances || say "fs.inotify.max_user_instances is low: tests may fail"
fi
