# Writes what this host says of itself, the marker (input marker.json), to both places where it is kept; run as root on a
# host of a cluster.
# shellcheck shell=sh
set -eu
umask 077
for folder in /var/lib/cloudmesh/host /etc/cloudmesh/cluster; do
    if why=$({ cp marker.json "$folder/marker.json.new" && mv "$folder/marker.json.new" "$folder/marker.json"; } 2>&1); then continue; fi
    rm -f "$folder/marker.json.new"
    printf '::fail could not write %s/marker.json: %s\n' "$folder" "$why"
    exit 1
done
