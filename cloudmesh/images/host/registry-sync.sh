# Brings to this server's registry what those of the other servers have and it lacks, with the host's own certificate. By the verb:
#
#   pushed   the images of the input `pushed`, "REPOSITORY TAG SHA-256" a line, from a server that has them
#   all      all that any other server has: before the registry starts, so that a server that was away is complete
#   loop     the same again and again, for what was missed meanwhile
#
# It writes where the registry stores (its layout of version 2), which needs no right to push: each blob under its checksum,
# then what names it, the tag last. So an image is there with all that belongs to it, or not at all.
# shellcheck shell=sh
set -eu

CONFIG=/etc/cloudmesh/cluster
REGISTRY=registry.cloudmesh:5443
DATA=/var/lib/cloudmesh/registry
STORE=$DATA/docker/registry/v2
SECONDS_BETWEEN=300

JSON=application/vnd
MANIFESTS="$JSON.oci.image.manifest.v1+json, $JSON.oci.image.index.v1+json, $JSON.docker.distribution.manifest.v2+json, $JSON.docker.distribution.manifest.list.v2+json"

fail() {
    printf '::fail %s\n' "$*"
    exit 1
}

# The first of the list is this server itself.
others() { tail -n +2 "$CONFIG/names/${REGISTRY%:*}"; }

# ask SERVER PATH [CURL OPTION...]: one that says nothing for half a minute is not waited for.
ask() {
    server=$1 path=$2
    shift 2
    curl --silent --show-error --fail --connect-timeout 5 --speed-limit 1 --speed-time 30 --cacert "$CONFIG/ca.pem" \
        --cert "$CONFIG/host.pem" --key "$CONFIG/host-key.pem" --noproxy '*' --connect-to "::$server:" \
        "https://$REGISTRY$path" "$@" </dev/null
}

# The words of the one list in a JSON text.
words() { sed -n 's/.*\[\(.*\)\].*/\1/p' | tr -d '" ' | tr ',' '\n'; }

# The repositories of a server, which tells a thousand at a time.
repositories() {
    last=
    while :; do
        page=$(ask "$1" "/v2/_catalog?n=1000${last:+&last=$last}") || return 1
        page=$(printf '%s' "$page" | words)
        [ -n "$page" ] || return 0
        printf '%s\n' "$page"
        [ "$(printf '%s\n' "$page" | wc -l)" -ge 1000 ] || return 0
        last=$(printf '%s\n' "$page" | tail -n 1)
    done
}

tags() {
    list=$(ask "$1" "/v2/$2/tags/list") || return 1
    printf '%s' "$list" | words
}

sha256() { sha256sum "$1" | cut -c 1-64; }

data_of() { printf '%s/blobs/sha256/%.2s/%s/data' "$STORE" "$1" "$1"; }

# keep FILE SHA-256: what a host that loses its power leaves behind is never half a blob.
keep() {
    data=$(data_of "$2")
    sync "$1" && mkdir -p "${data%/data}" && mv "$1" "$data"
}

# refer FOLDER SHA-256: what the registry calls a link.
refer() {
    if [ "$(cat "$1/link" 2>/dev/null)" = "sha256:$2" ]; then return 0; fi
    mkdir -p "$1" && printf 'sha256:%s' "$2" >"$1/link.$$" && mv "$1/link.$$" "$1/link"
}

# take_blob SERVER REPOSITORY SHA-256
take_blob() {
    if [ ! -s "$(data_of "$3")" ]; then
        ask "$1" "/v2/$2/blobs/sha256:$3" -o "$scratch/blob" || return 1
        [ "$(sha256 "$scratch/blob")" = "$3" ] || return 1
        keep "$scratch/blob" "$3" || return 1
    fi
    refer "$STORE/repositories/$2/_layers/sha256/$3" "$3"
}

revision_of() { printf '%s/repositories/%s/_manifests/revisions/sha256/%s' "$STORE" "$1" "$2"; }

# take_manifest SERVER REPOSITORY SHA-256: with all that it names, which for an index are manifests.
take_manifest() (
    if [ -s "$(revision_of "$2" "$3")/link" ]; then return 0; fi
    manifest=$scratch/$3
    ask "$1" "/v2/$2/manifests/sha256:$3" -H "Accept: $MANIFESTS" -o "$manifest" || return 1
    [ "$(sha256 "$manifest")" = "$3" ] || return 1
    if grep -q '"manifests"[[:space:]]*:' "$manifest"; then take=take_manifest; else take=take_blob; fi
    parts=$(grep -o '"digest"[[:space:]]*:[[:space:]]*"sha256:[0-9a-f]\{64\}"' "$manifest" | sed 's/.*:\(.*\)"/\1/' | sort -u)
    for part in $parts; do
        "$take" "$1" "$2" "$part" || return 1
    done
    keep "$manifest" "$3" && refer "$(revision_of "$2" "$3")" "$3"
)

# name REPOSITORY TAG SHA-256; registry-collect.sh looks at how old that is.
name() {
    tag=$STORE/repositories/$1/_manifests/tags/$2
    refer "$tag/index/sha256/$3" "$3" && refer "$tag/current" "$3" && touch "$tag/current/link"
}

# take_pushed REPOSITORY TAG SHA-256: from the first server that has it.
take_pushed() {
    for other in $(others); do
        if take_manifest "$other" "$1" "$3"; then
            name "$1" "$2" "$3"
            return
        fi
    done
    return 1
}

# take_repository SERVER REPOSITORY: a tag that is here already stays as it is. An image of a job never changes.
take_repository() {
    case $2 in
        cms-jobs/*)
            if [ -d "$STORE/repositories/$2/_manifests/tags" ]; then return 0; fi
            # Its job is gone, and the other server will notice it.
            if [ -e "$scratch/known" ] && ! grep -qxF -e "${2#cms-jobs/}" "$scratch/jobs"; then return 0; fi
            ;;
    esac
    for tag in $(tags "$1" "$2"); do
        digest=$(ask "$1" "/v2/$2/manifests/$tag" --head -H "Accept: $MANIFESTS" |
            sed -n 's/^[Dd]ocker-[Cc]ontent-[Dd]igest: *sha256:\([0-9a-f]*\).*/\1/p')
        # One that another run of cms has just begun, or just replaced, is for the next time.
        if [ -z "$digest" ] || ! take_manifest "$1" "$2" "$digest"; then continue; fi
        [ -s "$STORE/repositories/$2/_manifests/tags/$tag/current/link" ] || name "$2" "$tag" "$digest" || return 1
    done
}

pushed() {
    while read -r repository tag digest; do
        why=$(take_pushed "$repository" "$tag" "$digest" 2>&1) ||
            fail "the registry here did not get $repository:$tag from another server: $(printf '%s' "$why" | tail -n 1)"
    done <pushed
}

all() {
    # At boot, the engine may not say it yet.
    if sh "$CONFIG/jobs.sh" >"$scratch/jobs" 2>/dev/null; then touch "$scratch/known"; fi
    for other in $(others); do
        repositories "$other" | while read -r repository; do take_repository "$other" "$repository" || true; done
    done
}

if [ "${1:-}" = loop ]; then
    while sleep "$SECONDS_BETWEEN"; do sh "$0" all || true; done
fi

umask 077
mkdir -p "$DATA"
# What a run has left that was killed.
find "$DATA" -maxdepth 1 -name 'sync.*' -mmin +720 -exec rm -rf {} +
scratch=$(mktemp -d "$DATA/sync.XXXXXXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

case ${1:-} in
    pushed | all) "$1" ;;
    *) fail "unknown verb '${1:-}': pushed, all or loop" ;;
esac
