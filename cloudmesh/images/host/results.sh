# Sends what a task has left in its results directory; changes nothing: results.sh VERB, in a folder that has the inputs.
#
#   list     all that is there, nine fields with a NUL behind each: kind (find's %y), mode, size, blocks of 512 bytes, time
#            of the last change, inode, number of links, name, where a link leads
#   digests  the SHA-256 of files: "DIGEST  NAME", with a NUL behind; of the files in `large` a digest for each segment,
#            on lines of their own
#   pack     a tar archive for each list in batches/, and behind each one with the digests of its files (cms-checksums)
#   read     a file from `offset` on, `length` bytes; behind each segment its SHA-256 on a line
#
# Names are relative to the directory and begin with "./". What has gone meanwhile is left out. While a host computes and
# has nothing to send, it sends zeros as a sign of life: NULs, or empty blocks behind an archive.
# Inputs: path (the directory); for digests names (NUL behind each) and large (length and name, NUL behind each); for
# digests and read segment (bytes); for pack batches/*; for read name, offset, length.
# shellcheck shell=sh
set -eu
export SHELL=/bin/sh # what split runs its filters by
here=$PWD
path=$(cat path)

# A task that never ran, or whose results have expired, has left nothing.
list() {
    # A task could have put a link to the host's own files in its place.
    if [ -L "$path" ]; then
        echo "$path is a link, and no directory of results" >&2
        return 1
    fi
    [ -d "$path" ] || return 0
    cd "$path"
    find . -mindepth 1 -printf '%y\0%m\0%s\0%b\0%T@\0%D:%i\0%n\0%P\0%l\0' || true
}

digests() {
    { whole_digests names; segment_digests; } >digests 2>/dev/null &
    wait_for $! '\000'
    cat digests
}

whole_digests() { (cd "$path" && xargs -0 -r -a "$here/$1" sha256sum --zero -- || true); }

segment_digests() {
    # shellcheck disable=SC2016 # for the inner shell
    (cd "$path" && xargs -0 -r -n 2 -a "$here/large" sh -c '
        head -c "$2" -- "$3" | split --bytes="$1" --filter="sha256sum | cut -c 1-64"
        printf "  %s\0" "$3"' sh "$(cat "$here/segment")" || true)
}

pack() {
    for batch in batches/*; do
        whole_digests "$batch" >cms-checksums 2>/dev/null &
        # A file that changes meanwhile is told by its checksum where it arrives.
        tar --create --file=- --format=pax --sparse --no-recursion --hard-dereference --directory="$path" \
            --null --files-from="$here/$batch" 2>/dev/null || true
        wait_for $! "$(printf '%0512d' 0 | sed 's/0/\\000/g')"
        tar --create --file=- --format=pax cms-checksums
    done
}

read_file() {
    mkfifo copy
    name=$(cat name && echo .) # a name may end with a newline, which $() would take away
    tail -c "+$(($(cat offset) + 1))" -- "$path/${name%.}" | head -c "$(cat length)" |
        split --bytes="$(cat segment)" --filter='sha256sum <copy >digest & tee copy; wait; cut -c 1-64 digest'
}

# wait_for PID SIGN: prints the sign, a format of printf, every few seconds until the process has ended.
wait_for() {
    while sleep 5 >/dev/null 2>&1; do
        # shellcheck disable=SC2059 # it is a format
        printf "$2"
    done &
    signs=$!
    wait "$1" || true
    kill "$signs"
    wait "$signs" 2>/dev/null || true
}

case ${1:-} in
    list | digests | pack) "$1" ;;
    read) read_file ;;
    *)
        echo "unknown verb '${1:-}': list, digests, pack or read" >&2
        exit 1
        ;;
esac
