#!/bin/sh
# Runs a host script as root, in a new private directory that is removed at the end.
#
# On stdin are $1 bytes of script, then $2 bytes of a tar archive (0: there is none) with the files that the script
# finds in its current directory, then what the script itself reads. Ends with the script's exit status.
#
# Both lengths are checked, so that an incomplete transfer is never run; for the same reason all of this is one command.
# The script runs in its own process, so that its traps cannot prevent the removal of the directory. That is made where
# there is room: /tmp may be full, or not writable.
{
    umask 077
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root
    unset CDPATH TAR_OPTIONS GREP_OPTIONS
    directory='' cause=''
    clean() {
        cd /
        if [ -n "$directory" ]; then rm -rf "$directory"; fi
    }
    trap clean EXIT
    trap 'exit 1' HUP INT TERM

    for parent in ${TMPDIR:+"$TMPDIR"} /tmp /run /var/tmp /dev/shm; do
        if answer=$(mktemp -d "$parent/cms.XXXXXXXXXX" 2>&1); then
            directory=$answer
            answer=$(head -c "$(($1 + $2))" /dev/zero 2>&1 >"$directory/step") && break
            rm -rf "$directory"
            directory=''
        fi
        cause=${cause:-$answer}
    done
    if [ -z "$directory" ]; then
        echo "no room for $(($1 + $2)) bytes in /tmp, /run, /var/tmp and /dev/shm: $cause" >&2
        exit 1
    fi
    export TMPDIR="$parent"

    mkdir "$directory/files" && cd "$directory/files" && head -c "$1" >../step || exit 1
    [ "$(wc -c <../step)" -eq "$1" ] || exit 1
    [ "$2" -eq 0 ] || head -c "$2" | tar -xm --no-same-owner -f - || exit 1
    sh ../step
}
