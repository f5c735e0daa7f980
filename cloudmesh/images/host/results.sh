# Sends what a task has left in its results directory: a tar archive on stdout, first in it the list of all its files with
# their SHA-256. Regular files and directories only; what else is there is left out. Changes nothing.
# Input: path (the directory). Run by hand: sh results.sh, in a folder that has that file.
# shellcheck shell=sh
set -eu
here=$PWD
path=$(cat path)
: >list
: >cms-checksums
# A task that never ran, or whose results have expired, has left nothing.
if [ -d "$path" ]; then
    cd "$path"
    find . -mindepth 1 \( -type f -o -type d \) -print0 | LC_ALL=C sort -z >"$here/list"
    find . -mindepth 1 -type f -print0 | xargs -0 -r sha256sum --zero -- >"$here/cms-checksums"
fi
# A link to a file is a file of its own where it arrives. A file that changes meanwhile is told there by its checksum.
tar --create --file=- --format=pax --no-recursion --hard-dereference --directory="$here" cms-checksums \
    --directory="$PWD" --null --files-from="$here/list" || [ $? -eq 1 ]
