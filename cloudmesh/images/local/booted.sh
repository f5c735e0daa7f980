#!/bin/sh
# Runs on a local host, over SSH: wait until systemd has finished booting.   booted.sh SECONDS
set -eu
state=$(timeout "$1" systemctl is-system-running --wait 2>/dev/null || true)
case $state in
running | degraded) ;;
*) echo "::fail systemd is ${state:-still starting} after $1 s" ;;
esac
