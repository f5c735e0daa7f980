# The certificates of this host, and on a server the secrets behind them. By the verb:
#   list   prints "::fact certificate NAME BASE64" for each certificate that the host has for itself or trusts, as PEM, the
#          host's clock, and how far a rotation has come here, "::fact rotation ID STAGE", or "::fact rotation none"
#   keep   (input etc/secrets.json) keeps the cluster's secrets, on a server
# Sent behind lib.sh.
# shellcheck shell=sh
# shellcheck source=cloudmesh/images/host/lib.sh
if ! command -v place >/dev/null; then . "$(dirname "$0")/lib.sh"; fi

# Some files hold a private key too.
list() {
    for file in "$CONFIG"/*.pem; do
        case $file in *-key.pem | *'/*.pem') continue ;; esac
        name=${file##*/}
        fact certificate "${name%.pem} $(sed -n '/BEGIN CERT/,/END CERT/p' "$file" | base64 -w 0)"
    done
    fact clock "$(date +%s)"
    if [ -e "$CONFIG/rotation" ]; then fact rotation "$(cat "$CONFIG/rotation")"; else fact rotation none; fi
}

keep() { place etc/secrets.json "$CONFIG/secrets.json" 600 || true; }

case ${1:-} in
    list | keep) "$1" ;;
    *) fail "unknown verb '${1:-}': list or keep" ;;
esac
