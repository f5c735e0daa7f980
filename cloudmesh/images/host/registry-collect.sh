# Takes out of this server's registry the images of jobs that the engine has no more, and what nothing refers to:
#
#   registry-collect.sh MINUTES   once; what is not older than so many minutes stays
#   registry-collect.sh loop      again and again
#
# The image of a job, cms-jobs/JOB, is there before the job is submitted, and submitting it again makes it new. What the engine
# does not say is no reason to delete anything: jobs.sh, which is the engine's, fails then. A blob is set aside first: a push that
# had just found it there refers to it by the next time, and it comes back.
# shellcheck shell=sh
set -eu

CONFIG=/etc/cloudmesh/cluster
DATA=/var/lib/cloudmesh/registry
STORE=$DATA/docker/registry/v2
ASIDE=$DATA/aside
SECONDS_BETWEEN=900 MINUTES=120

if [ "${1:-}" = loop ]; then
    while sleep "$SECONDS_BETWEEN"; do sh "$0" "$MINUTES" || true; done
fi

# is_older PATH MINUTES: nothing in it was written lately.
is_older() { [ -z "$(find "$1" -mmin "-$2" -print -quit)" ]; }

drop_images() {
    sh "$CONFIG/jobs.sh" >"$scratch/jobs"
    for repository in "$STORE"/repositories/cms-jobs/*; do
        if [ -d "$repository" ] && is_older "$repository" "$1" && ! grep -qxF -e "${repository##*/}" "$scratch/jobs"; then
            mv "$repository" "$scratch" && rm -rf "${scratch:?}/${repository##*/}"
        fi
    done
}

# What repositories refer to, by checksum: images' manifests, their configurations and layers.
references() {
    find "$STORE/repositories" -path '*/sha256/*' -name link -printf '%h\n' | sed 's|.*/||' | LC_ALL=C sort -u
}

# those_without LIST: of the checksums on stdin, those that are not in the list.
those_without() { LC_ALL=C sort -u | LC_ALL=C comm -23 - "$1"; }

drop_blobs() {
    mkdir -p "$ASIDE"
    references >"$scratch/references"
    for blob in "$ASIDE"/*; do
        [ -d "$blob" ] || continue
        sum=${blob##*/}
        # One that was pushed again meanwhile is there already.
        if grep -qxF -e "$sum" "$scratch/references" && [ ! -e "$(place_of "$sum")" ]; then
            mv -T "$blob" "$(place_of "$sum")"
        else
            rm -rf "$blob"
        fi
    done
    find "$STORE/blobs/sha256" -mindepth 2 -maxdepth 2 -type d -mmin "+$1" -printf '%f\n' >"$scratch/blobs"
    those_without "$scratch/references" <"$scratch/blobs" | while read -r sum; do mv -T "$(place_of "$sum")" "$ASIDE/$sum"; done
}

place_of() { printf '%s/blobs/sha256/%.2s/%s' "$STORE" "$1" "$1"; }

umask 077
[ -d "$STORE/repositories" ] || exit 0
find "$DATA" -maxdepth 1 -name 'collect.*' -mmin +720 -exec rm -rf {} +
scratch=$(mktemp -d "$DATA/collect.XXXXXXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
drop_images "$1"
drop_blobs "$1"
