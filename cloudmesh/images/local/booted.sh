#!/bin/sh
# Wait until systemd has finished booting; print "running" or "degraded".   booted.sh SECONDS
set -u
end=$(($(date +%s) + $1))
state=starting
while [ "$(date +%s)" -lt "$end" ]; do
    state=$(timeout "$1" systemctl is-system-running --wait 2>/dev/null)
    case $state in
    running | degraded)
        echo "$state"
        exit 0
        ;;
    esac
    sleep 0.1
done
echo "${state:-no systemd}"
exit 1
