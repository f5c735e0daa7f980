# The certificates of this host, and on a server the secrets behind them. By the verb:
#   list   prints "::fact certificate FILE BASE64" for each file of certificates that the host has, as PEM, the host's
#          clock, and how far a rotation has come here, "::fact rotation ID STAGE", or "::fact rotation none"
#   keep   (input etc/secrets.json) keeps the cluster's secrets, on a server
# Sent behind lib.sh.
# shellcheck shell=sh
# shellcheck source=cloudmesh/images/host/lib.sh
if ! command -v place >/dev/null; then . "$(dirname "$0")/lib.sh"; fi

# Some files hold a private key too, which stays here.
list() {
    for file in "$CONFIG"/*.pem /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt \
        /var/lib/kubelet/pki/kubelet-client-current.pem; do
        case $file in *-key.pem) continue ;; esac
        if [ -e "$file" ]; then certificate "$file" "$(cat "$file")"; fi
    done
    for file in /etc/kubernetes/*.conf; do
        [ -e "$file" ] || continue
        data=$(sed -n 's/^ *client-certificate-data: *//p' "$file")
        if [ -n "$data" ]; then certificate "$file" "$(printf '%s' "$data" | base64 -d)"; fi
    done
    fact clock "$(date +%s)"
    if [ -e "$CONFIG/rotation" ]; then fact rotation "$(cat "$CONFIG/rotation")"; else fact rotation none; fi
}

# certificate FILE TEXT
certificate() { fact certificate "$1 $(printf '%s\n' "$2" | sed -n '/BEGIN CERT/,/END CERT/p' | base64 -w 0)"; }

keep() { place etc/secrets.json "$CONFIG/secrets.json" 600 || true; }

case ${1:-} in
    list | keep) "$1" ;;
    *) fail "unknown verb '${1:-}': list or keep" ;;
esac
