#!/bin/sh
# Holds the lock of a cluster on its first server for as long as the operator's session lives.
#
# Reads `holder` from the current directory (who takes the lock, one line), then single bytes from stdin: signs of life.
# Prints "::fact held yes" once it holds the lock, or "::fail locked by WHO since WHEN". The lock ends with stdin, or
# when there was no sign of life for a while: a session whose network is gone is noticed by nothing else.
# The kernel's lock counts, not the file: what a killed session leaves behind locks nobody out.
set -eu
lock=/run/cloudmesh-cluster.lock
silence=60

fail() {
    printf '::fail %s\n' "$1"
    exit 1
}

# Whether the file that we have open is the one that others find by its name: a holder removes it when it ends.
ours() { [ "$(stat -L -c %d:%i /proc/self/fd/9)" = "$(stat -c %d:%i "$lock" 2>/dev/null)" ]; }

# The second lets a session that is just ending get out of the way.
take() {
    while :; do
        exec 9<>"$lock"
        flock -w 1 9 || fail "locked by $(head -n 1 <&9)"
        if ours; then return; fi
    done
}

command -v flock >/dev/null || fail "there is no flock: install the package util-linux"
[ "$(id -u)" -eq 0 ] || fail "not root: log in as root, or as a user who may use sudo"
holder=$(head -n 1 holder)
take
printf '%s since %s\n' "$holder" "$(date -u '+%Y-%m-%d %H:%M:%S UTC')" >"$lock"
printf '::fact held yes\n'

# A child with the lock's descriptor would go on holding the lock where this shell is killed.
while sign=$(exec 9>&- && exec timeout --foreground "$silence" head -c 1) && [ -n "$sign" ]; do :; done

# Removed while it is still held: nobody else can have taken a file of this name.
if ours; then rm -f "$lock"; fi
