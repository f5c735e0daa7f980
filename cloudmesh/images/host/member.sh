# Says which cluster this host belongs to; changes nothing.
# shellcheck shell=sh
set -eu
marker=/etc/cloudmesh/cluster/marker.json
if [ -r "$marker" ]; then printf '::fact marker %s\n' "$(tr '\n' ' ' <"$marker")"; fi
