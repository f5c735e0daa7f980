#!/bin/sh
# Sees to what the software-emulated machines need of this one, beside the Docker engine.
set -eu

needed() {
    command -v qemu-system-x86_64 >/dev/null || echo qemu-system-x86
    command -v ssh >/dev/null || echo openssh-client
}

missing=$(needed | tr '\n' ' ')
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing: $missing; install it and run this again" >&2
    exit 1
fi
echo "installing $missing" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of packages
{ apt-get update && apt-get install -y --no-install-recommends $missing; } >/dev/null
